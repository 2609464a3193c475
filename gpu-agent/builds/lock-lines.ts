/** The lines of a build's Python lock: which are taken, and what they ask of the installer. Pure. */
import { BuildFailed } from "./build-failed.ts";

export interface LockLine {
  /** As written. */
  readonly text: string;
  /** PEP 503: lower case, `-` for runs of `-_.`. */
  readonly name: string;
  /** Null where the line names an address. */
  readonly version: string | null;
  /** Null where the line names a version. */
  readonly address: string | null;
  readonly hasHash: boolean;
}

const NAME = "([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)";
const EXTRAS = "(?:\\s*\\[[A-Za-z0-9,._ -]*\\])?";
const HASHES = "((?:\\s+--hash=sha(?:256|384|512):[0-9a-f]+)*)";
const MARKER = "(?:\\s*;[^\\\\]*?)?";
const VERSION_LINE = new RegExp(`^${NAME}${EXTRAS}\\s*={2,3}\\s*([A-Za-z0-9][A-Za-z0-9.!+_-]*)${MARKER}${HASHES}$`);
const ADDRESS_LINE = new RegExp(
  `^${NAME}${EXTRAS}\\s*@\\s*((?:https|file|git\\+https):[^\\s;]+)(?:\\s+;[^\\\\]*?)?${HASHES}$`,
);

/**
 * Reads the lock.
 * @throws BuildFailed manifest_refused for a line that is no pin: options, ranges, other files, variables
 */
export function readLock(lines: readonly string[]): LockLine[] {
  return lines.map((line) => {
    const text = line.trim();
    // pip puts variables of its environment into a requirements file.
    const isSafe = !/[\r\n\0]|\$\{/.test(text);
    const pinned = isSafe ? VERSION_LINE.exec(text) : null;
    const addressed = isSafe ? ADDRESS_LINE.exec(text) : null;
    const name = pinned?.[1] ?? addressed?.[1];
    if (name === undefined) {
      throw new BuildFailed(
        "manifest_refused",
        `pipDependencies: "${text.slice(0, 200)}" is neither name==version nor name @ address; a lock holds exact pins alone.`,
      );
    }
    return {
      text,
      name: normalName(name),
      version: pinned?.[2] ?? null,
      address: addressed?.[2] ?? null,
      hasHash: (pinned?.[3] ?? addressed?.[3] ?? "") !== "",
    };
  });
}

/** A line that names sources by their address says that they may be built; all others are wheels or nothing. */
export function namesSources({ address }: LockLine): boolean {
  return address !== null && !/\.whl(?:[#?]|$)/i.test(address);
}

/** True when the installer can hold every file to a hash. */
export function allHashed(lock: readonly LockLine[]): boolean {
  return lock.length > 0 && lock.every((line) => line.hasHash);
}

/** `Foo_Bar` and `foo-bar` are one package. */
export function normalName(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

/**
 * The options that both pip and uv know.
 * @param indexes where to look, the first in place of the installer's own
 */
export function installOptions(lock: readonly LockLine[], indexes: readonly string[]): string[] {
  const options = ["--no-deps"];
  const built = new Set(lock.filter(namesSources).map((line) => line.name));
  if (built.size === 0) options.push("--only-binary", ":all:");
  else for (const { name } of lock) if (!built.has(name)) options.push("--only-binary", name);
  if (allHashed(lock)) options.push("--require-hashes");
  for (const [position, index] of indexes.entries()) {
    options.push(position === 0 ? "--index-url" : "--extra-index-url", index);
  }
  return options;
}
