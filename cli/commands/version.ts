import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { Command } from "#cli/command";
import { PROJECT_ROOT } from "#cli/local/state-folder";

const Package = z.object({ version: z.string() });

export const version: Command = {
  path: ["version"],
  summary: "Print the version",
  examples: ["pilotlight version"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async () => {
    const own = Package.parse(JSON.parse(await readFile(join(PROJECT_ROOT, "package.json"), "utf8"))).version;
    const data = { pilotlight: own, node: process.versions.node, platform: `${process.platform}-${process.arch}` };
    return { data, text: `pilotlight ${own} (Node ${data.node}, ${data.platform})` };
  },
};
