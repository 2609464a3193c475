/** A stand-in inside the test process, on a free port, with folders of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseCommandLine, type Settings } from "#gpu-agent/stand-in/command-line";
import { Log } from "#gpu-agent/stand-in/log";
import { createStandIn, type NodeLibrary, type StandIn } from "#gpu-agent/stand-in/stand-in";
import { ComfyClient } from "../comfy-contract/comfy-client.ts";
import { testLibrary } from "./test-nodes.ts";

export interface ServerUnderTest {
  readonly client: ComfyClient;
  readonly standIn: StandIn;
  readonly folder: string;
  readonly log: Log;
  readonly crashes: string[];
  close(): Promise<void>;
}

export function settingsOf(...argv: string[]): Settings {
  const parsed = parseCommandLine(["--port", "0", ...argv]);
  if (parsed.type !== "run") throw new Error(parsed.text);
  return parsed.settings;
}

/** Starts a server with the given flags. Crashes are recorded, not carried out. */
export async function startServer(argv: string[] = [], library: NodeLibrary = testLibrary()): Promise<ServerUnderTest> {
  const folder = mkdtempSync(path.join(tmpdir(), "stand-in-test-"));
  const crashes: string[] = [];
  const log = new Log(() => undefined);
  const standIn = createStandIn(settingsOf(...argv), library, folder, ["main.py", ...argv], log, () => {
    crashes.push("137");
    throw new Error("crashed");
  });
  const client = new ComfyClient(`http://127.0.0.1:${await standIn.listen()}`);
  return {
    client,
    standIn,
    folder,
    log,
    crashes,
    async close() {
      client.close();
      await standIn.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
