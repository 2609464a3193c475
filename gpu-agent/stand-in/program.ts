/** The stand-in as a program: its command line, its signals, its life. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { coreNodes } from "#workflow/core-nodes/all";
import { parseCommandLine, type Settings } from "./command-line.ts";
import { GENERATIONS } from "./generations.ts";
import { Log } from "./log.ts";
import { nodeImplementations } from "./nodes/registry.ts";
import { simulatedModels } from "./nodes/simulated-models.ts";
import { createStandIn } from "./stand-in.ts";

/** What a killed process leaves behind, as shells and containers report it. */
const CRASH_EXIT_CODE = 137;

/** @param argv the words after the program's name */
export async function runProgram(argv: readonly string[]): Promise<void> {
  const commandLine = parseCommandLine(argv);
  switch (commandLine.type) {
    case "help":
      process.stdout.write(commandLine.text);
      return;
    case "refused":
      process.stderr.write(commandLine.text);
      process.exitCode = 2;
      return;
    case "run":
      await run(commandLine.settings, argv);
      return;
    default:
      throw new Error(`unhandled: ${JSON.stringify(commandLine satisfies never)}`);
  }
}

async function run(settings: Settings, words: readonly string[]): Promise<void> {
  const log = new Log((text) => process.stderr.write(text));
  log.line(
    "This is the Pilotlight stand-in for ComfyUI: it speaks the protocol and has no GPU, no weights and no editor.",
  );
  log.line(`ComfyUI version: ${GENERATIONS[settings.generation].version} (stood in for)`);
  const base = settings.baseDirectory ?? mkdtempSync(path.join(tmpdir(), "pilotlight-stand-in-"));
  const library = { specs: coreNodes, implementations: nodeImplementations, models: simulatedModels };
  const argv = ["main.py", ...words];
  const standIn = createStandIn(settings, library, base, argv, log, () => process.exit(CRASH_EXIT_CODE));
  if (settings.quickTest) return;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.line("\nStopped server");
      void standIn.close().then(() => process.exit(0));
    });
  }
  if (settings.slowBootMs > 0) {
    log.line(`Loading for ${settings.slowBootMs} ms, as asked`);
    await wait(settings.slowBootMs);
  }
  log.line("Starting server\n");
  let port: number;
  try {
    port = await standIn.listen();
  } catch (error) {
    log.line(`OSError: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
  for (const address of settings.addresses) {
    log.line(`To see the GUI go to: http://${address.includes(":") ? `[${address}]` : address}:${port}`);
  }
  process.stdout.write(`${JSON.stringify({ event: "listening", port })}\n`);
}
