import type { Command } from "#cli/command";
import { runDemo } from "#cli/demo";

export const demo: Command = {
  path: ["demo"],
  summary: "Show the whole system: deploy two workflows here, call them over HTTP, save the pictures",
  examples: ["npm run demo", "COMFYUI_URL=http://127.0.0.1:8188 npm run demo"],
  positionals: [],
  options: { "output-folder": { type: "string", short: "o" } },
  optionHelp: { "output-folder": "where the pictures go; demo-output when left out" },
  forPeople: true,
  run: runDemo,
};
