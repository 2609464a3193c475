/** One virtual environment with the build's lock in it: by uv where it is installed, else by venv and pip. */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { BuildManifest } from "#contract/build";
import { BuildFailed } from "./build-failed.ts";
import { findPython, type Interpreter } from "./find-python.ts";
import { installOptions, type LockLine, normalName, readLock } from "./lock-lines.ts";
import { type ProgramEnd, runStepProgram, type StepSurroundings } from "./step-program.ts";

export interface EnvironmentPlan {
  readonly manifest: Pick<BuildManifest, "environment" | "pipDependencies" | "pipIndexes">;
  /** Where it is made. */
  readonly folder: string;
  /** Where it will be in the end. */
  readonly finalFolder: string;
  /** Downloads that later builds use again. */
  readonly cache: string;
  /** Interpreters the owner names. */
  readonly pythons: readonly string[];
  /** Addresses of this machine are taken. */
  readonly allowFiles: boolean;
}

export interface MadeEnvironment {
  readonly python: string;
  readonly installer: "uv" | "pip";
  /** What the environment holds, `name==version`, sorted. */
  readonly installed: readonly string[];
}

/** Scripts are small; what is larger is a program. */
const SCRIPT_BYTES_MAX = 64 * 1024;
/** The first pip that installs into another environment than its own. */
const PIP_FOR_OTHERS = 22.3;
const LIST_INSTALLED =
  "import importlib.metadata as m, json; print(json.dumps(sorted({(d.metadata['Name'] or '', d.version) for d in m.distributions()})))";
const Installed = z.array(z.tuple([z.string(), z.string()]));

/**
 * Makes the environment anew.
 * @throws BuildFailed python_missing, install_failed, manifest_refused
 */
export async function makeEnvironment(plan: EnvironmentPlan, around: StepSurroundings): Promise<MadeEnvironment> {
  const { manifest, folder, allowFiles } = plan;
  const lock = readLock(manifest.pipDependencies);
  if (!allowFiles) refuseFiles(lock, manifest.pipIndexes);
  await rm(folder, { recursive: true, force: true });
  const cwd = join(folder, "..");
  const hasUv = await canRun("uv", cwd, around);
  const interpreter = await findPython(manifest.environment.pythonVersion, plan.pythons, hasUv, cwd, around);
  around.log.line(`Python ${interpreter.version} (${interpreter.program}), installed by ${hasUv ? "uv" : "pip"}`);
  // Nothing to install: nothing to look for.
  const installer = hasUv ? "uv" : lock.length === 0 ? "pip" : await pipOf(interpreter, cwd, around);
  await makeEmpty(plan, interpreter, installer, cwd, around);
  if (lock.length > 0) await install(plan, lock, interpreter, installer, cwd, around);
  const installed = await listInstalled(join(folder, "bin", "python"), cwd, around);
  refuseOthers(lock, installed, around);
  await pointScriptsAt(folder, plan.finalFolder);
  return {
    python: interpreter.version,
    installer: hasUv ? "uv" : "pip",
    installed: installed.map(([name, version]) => `${normalName(name)}==${version}`).toSorted(),
  };
}

/** Which program installs: pip of the interpreter, where it can install elsewhere, or one that the environment brings. */
type Installer = "uv" | "pip" | "own pip";

async function pipOf({ program }: Interpreter, cwd: string, around: StepSurroundings): Promise<Installer> {
  const { code, answer } = await runStepProgram({ program, args: ["-m", "pip", "--version"], cwd }, around);
  const version = Number(/^pip (\d+\.\d+)/.exec(answer)?.[1] ?? "0");
  return code === 0 && version >= PIP_FOR_OTHERS ? "pip" : "own pip";
}

/** Without pip inside, where that can be: what is no part of the lock should not be there, and pip least of all. */
async function makeEmpty(
  { folder, cache }: EnvironmentPlan,
  { program }: Interpreter,
  installer: Installer,
  cwd: string,
  around: StepSurroundings,
): Promise<void> {
  const call =
    installer === "uv"
      ? { program: "uv", args: ["venv", "--no-project", "--no-config", "--python", program, folder] }
      : { program, args: ["-m", "venv", ...(installer === "pip" ? ["--without-pip"] : []), folder] };
  const made = await runStepProgram({ ...call, cwd, environment: installerEnvironment(cache) }, around);
  if (made.code !== 0) {
    throw new BuildFailed("install_failed", "The virtual environment cannot be made.", around.log.tail);
  }
}

async function install(
  { folder, cache, manifest }: EnvironmentPlan,
  lock: readonly LockLine[],
  interpreter: Interpreter,
  installer: Installer,
  cwd: string,
  around: StepSurroundings,
): Promise<void> {
  const requirements = join(cwd, "requirements.txt");
  await writeFile(requirements, `${lock.map((line) => line.text).join("\n")}\n`, { mode: 0o600 });
  const options = [...installOptions(lock, manifest.pipIndexes), "-r", requirements];
  const python = join(folder, "bin", "python");
  const quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"];
  const calls: Readonly<Record<Installer, { program: string; args: string[] }>> = {
    uv: { program: "uv", args: ["pip", "install", "--no-config", "--no-progress", "--python", python, ...options] },
    pip: { program: interpreter.program, args: ["-m", "pip", "--python", python, "install", ...quiet, ...options] },
    "own pip": { program: python, args: ["-m", "pip", "install", ...quiet, ...options] },
  };
  const done = await runStepProgram({ ...calls[installer], cwd, environment: installerEnvironment(cache) }, around);
  if (done.code === 0) return;
  throw new BuildFailed(
    "install_failed",
    `The Python packages cannot be installed: ${installer === "uv" ? "uv" : "pip"} ended with ${exitOf(done)}.`,
    around.log.tail,
  );
}

/** Exit codes lie, and so do resolvers: what counts is what the environment holds. */
function refuseOthers(
  lock: readonly LockLine[],
  installed: readonly (readonly [string, string])[],
  around: StepSurroundings,
): void {
  const versions = new Map(installed.map(([name, version]) => [normalName(name), version]));
  for (const { name, version, text } of lock) {
    const found = versions.get(name);
    // A marker may say that a line is for other machines.
    if (found === undefined && text.includes(";")) continue;
    if (found !== undefined && (version === null || isSameVersion(version, found))) continue;
    const what = found === undefined ? "is not there" : `is ${found}`;
    throw new BuildFailed(
      "install_failed",
      `After the install ${name} ${what}; the lock wants ${text}.`,
      around.log.tail,
    );
  }
}

/** `2.0` and `2.0.0` are one version; so are local parts left out of the lock (`2.4.1` gives `2.4.1+cu121`). */
function isSameVersion(wanted: string, found: string): boolean {
  const plain = (version: string) =>
    version
      .toLowerCase()
      .replace(/^v/, "")
      .replace(/(?:\.0)+$/, "");
  const comparable = wanted.includes("+") ? found : (found.split("+")[0] ?? found);
  return plain(wanted) === plain(comparable);
}

async function listInstalled(
  python: string,
  cwd: string,
  around: StepSurroundings,
): Promise<z.infer<typeof Installed>> {
  const { code, answer } = await runStepProgram(
    { program: python, args: ["-c", LIST_INSTALLED], shown: ["-c", "…"], cwd },
    around,
  );
  try {
    if (code === 0) return Installed.parse(JSON.parse(answer));
  } catch {
    // Said below.
  }
  throw new BuildFailed("install_failed", "The virtual environment does not run.", around.log.tail);
}

/** Scripts name their interpreter by its whole path, which is another one when the build is in its place. */
async function pointScriptsAt(folder: string, finalFolder: string): Promise<void> {
  const bin = join(folder, "bin");
  for (const entry of await readdir(bin, { withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(bin, entry.name);
    const bytes = await readFile(path);
    if (bytes.byteLength > SCRIPT_BYTES_MAX || !bytes.includes(folder) || bytes.includes(0)) continue;
    await writeFile(path, bytes.toString("utf8").replaceAll(folder, finalFolder));
  }
}

function refuseFiles(lock: readonly LockLine[], indexes: readonly string[]): void {
  const local = [...lock.flatMap(({ address }) => address ?? []), ...indexes].find((url) =>
    /^(?:git\+)?file:/.test(url),
  );
  if (local === undefined) return;
  throw new BuildFailed("manifest_refused", `${local} is a file:// address, which this agent is not told to take.`);
}

/** The owner's own pip settings would make another environment of the same lock. */
function installerEnvironment(cache: string): NodeJS.ProcessEnv {
  return {
    PIP_CONFIG_FILE: "/dev/null",
    PIP_CACHE_DIR: join(cache, "pip"),
    PIP_NO_INPUT: "1",
    UV_CACHE_DIR: join(cache, "uv"),
    UV_NO_CONFIG: "1",
    PYTHONNOUSERSITE: "1",
  };
}

async function canRun(program: string, cwd: string, around: StepSurroundings): Promise<boolean> {
  try {
    return (await runStepProgram({ program, args: ["--version"], cwd }, around)).code === 0;
  } catch (error) {
    if (error instanceof BuildFailed) return false;
    throw error;
  }
}

function exitOf({ code }: ProgramEnd): string {
  return code === null ? "a signal" : `exit code ${code}`;
}
