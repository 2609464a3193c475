/** The interpreter a build is made with: of the wanted minor version, or none. */
import { BuildFailed } from "./build-failed.ts";
import { runStepProgram, type StepSurroundings } from "./step-program.ts";

export interface Interpreter {
  readonly program: string;
  /** Such as 3.11.7. */
  readonly version: string;
}

const ASK_VERSION = "import sys; print('%d.%d.%d' % sys.version_info[:3])";

/**
 * Looks for an interpreter: what the owner names, then the usual names, then those uv knows of.
 * @param wanted such as 3.11 or 3.11.4; another patch of the same minor version serves as well, since wheels are made
 * for minor versions
 * @param named the owner's own choice, if any
 * @param uv whether uv is here
 * @throws BuildFailed python_missing, naming what was found instead
 */
export async function findPython(
  wanted: string,
  named: readonly string[],
  uv: boolean,
  cwd: string,
  around: StepSurroundings,
): Promise<Interpreter> {
  const minor = minorOf(wanted);
  const seen: string[] = [];
  for (const program of [...named, `python${minor}`, "python3", "python"]) {
    const version = await versionOf(program, cwd, around);
    if (version === null) continue;
    if (minorOf(version) === minor) return { program, version };
    seen.push(`${program} is ${version}`);
  }
  if (uv) {
    // Only what is installed: an interpreter fetched from somewhere would be one more thing that nobody pinned.
    const args = ["python", "find", "--no-python-downloads", "--no-project", minor];
    const found = await runStepProgram({ program: "uv", args, cwd }, around);
    const program = found.code === 0 ? found.answer.trim() : "";
    const version = program === "" ? null : await versionOf(program, cwd, around);
    if (version !== null && minorOf(version) === minor) return { program, version };
  }
  const instead = seen.length === 0 ? "there is no Python at all" : seen.join(", ");
  throw new BuildFailed(
    "python_missing",
    `The build wants Python ${minor}; on this machine ${instead}. Install it, or name it with --build-python.`,
  );
}

export function minorOf(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}

async function versionOf(program: string, cwd: string, around: StepSurroundings): Promise<string | null> {
  try {
    const { code, answer } = await runStepProgram({ program, args: ["-c", ASK_VERSION], cwd }, around);
    const version = answer.trim();
    return code === 0 && /^\d+\.\d+\.\d+$/.test(version) ? version : null;
  } catch (error) {
    if (error instanceof BuildFailed) return null;
    throw error;
  }
}
