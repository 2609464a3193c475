/** The Python a ComfyUI runs with: its version, its machine, and everything installed in it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { CliError } from "#cli/errors";
import { processorName, systemName } from "#workflow/build/definition";
import { type Requirements, readRequirements } from "#workflow/build/requirements";
import { runProgram } from "./run-program.ts";

export interface PythonEnvironment {
  readonly program: string;
  readonly version: string;
  readonly os: string;
  readonly arch: string;
  readonly lock: Requirements;
}

/** A cold disk with thousands of packages. */
const PYTHON_MS_MAX = 120_000;
const PROBE =
  "import json,platform as p; print(json.dumps({'os': p.system(), 'arch': p.machine(), 'version': p.python_version()}))";
const Probe = z.object({ os: z.string(), arch: z.string(), version: z.string() });

/** Where installations keep their interpreter, seen from ComfyUI's folder. */
const PLACES = [
  ["venv", "bin", "python"],
  [".venv", "bin", "python"],
  ["venv", "Scripts", "python.exe"],
  [".venv", "Scripts", "python.exe"],
  ["..", "venv", "bin", "python"],
  ["..", ".venv", "bin", "python"],
  ["..", "python_embeded", "python.exe"],
];

/** The interpreter beside an installation; undefined where none lies in the usual places. */
export function findInterpreter(comfyFolder: string): string | undefined {
  return PLACES.map((place) => join(comfyFolder, ...place)).find((path) => existsSync(path));
}

/**
 * Asks an interpreter, in subprocesses of its own.
 * @throws CliError `scan_failed` where it cannot be run, or cannot list what is installed
 */
export async function readPython(
  program: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<PythonEnvironment> {
  // What PYTHONPATH adds is there for this shell, and not for ComfyUI.
  const { PYTHONPATH: _, PYTHONHOME: __, ...rest } = env;
  const surroundings = { env: { ...rest, PIP_DISABLE_PIP_VERSION_CHECK: "1" }, timeoutMs: PYTHON_MS_MAX, signal };
  const probe = await runProgram(program, ["-c", PROBE], surroundings);
  const probed = probe?.code === 0 ? parsedProbe(probe.stdout) : undefined;
  if (probed === undefined) {
    const why = probe === undefined ? "there is no such program" : "it does not answer as Python does";
    throw new CliError("scan_failed", `${program} cannot be asked: ${why}`, "--python names ComfyUI's interpreter.");
  }
  const freeze = await freezeOf(program, surroundings);
  if (freeze === undefined) {
    throw new CliError(
      "scan_failed",
      `${program} cannot list its packages: it has no pip, and uv is not here either`,
      `\`${program} -m ensurepip\` gives it one.`,
    );
  }
  return {
    program,
    version: probed.version,
    os: systemName(probed.os) ?? probed.os,
    arch: processorName(probed.arch) ?? probed.arch,
    lock: readRequirements(freeze),
  };
}

function parsedProbe(text: string): z.infer<typeof Probe> | undefined {
  try {
    return Probe.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Environments that uv made have no pip inside; uv lists them from outside. */
async function freezeOf(program: string, surroundings: Parameters<typeof runProgram>[2]): Promise<string | undefined> {
  const pip = await runProgram(program, ["-m", "pip", "freeze"], surroundings);
  if (pip?.code === 0) return pip.stdout;
  const uv = await runProgram("uv", ["pip", "freeze", "--python", program], surroundings);
  return uv?.code === 0 ? uv.stdout : undefined;
}
