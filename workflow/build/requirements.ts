/** A Python lock: the text of a requirements file or of `pip freeze`, as lines, and back. */
import { withoutPassword } from "./addresses.ts";

export interface Requirements {
  /** One package each, as they are written; whether they are exact is for the manifest to say. */
  readonly lines: readonly string[];
  readonly indexes: readonly string[];
  readonly warnings: readonly string[];
}

const INDEX_OPTION = /^(--index-url|-i|--extra-index-url)(?:\s+|=)(\S+)$/;
const QUOTED_MAX = 80;
/** As in a manifest; of a longer line only the name is kept, so that it is asked for. */
const LINE_LENGTH_MAX = 10_000;

/** Reads the text. Options that name no index are left out and named among the warnings. */
export function readRequirements(text: string): Requirements {
  const lines: string[] = [];
  const indexes: string[] = [];
  const warnings: string[] = [];
  // A backslash at a line's end goes on in the next, as hashes are written.
  for (const raw of text.replaceAll(/\\\r?\n/g, " ").split(/\r?\n/)) {
    const line = raw
      .replace(/(^|\s)#.*$/, "")
      .trim()
      .replaceAll(/[ \t]+/g, " ");
    if (line === "") continue;
    if (line.length > LINE_LENGTH_MAX) {
      warnings.push(
        `The line of ${packageOf(line).slice(0, QUOTED_MAX)} has ${line.length} characters and is not read.`,
      );
      lines.push(packageOf(line).slice(0, QUOTED_MAX));
      continue;
    }
    const index = INDEX_OPTION.exec(line);
    if (index !== null) {
      const address = index[2] ?? "";
      const clean = withoutPassword(address);
      if (clean !== address) warnings.push(`The index ${clean} had a password in its address, which is left out.`);
      if (index[1] === "--extra-index-url" && indexes.length === 0) {
        warnings.push(
          `The index ${clean} goes beside pip's own one; pipIndexes lists every index, so name pip's own there too if it is needed.`,
        );
      }
      if (!indexes.includes(clean)) indexes.push(clean);
    } else if (line.startsWith("-") && editableOf(line) === undefined) {
      warnings.push(`The line "${withoutPassword(line).slice(0, QUOTED_MAX)}" is an option of pip's and is left out.`);
    } else {
      lines.push(cleanLine(editableOf(line) ?? line));
    }
  }
  return { lines, indexes, warnings };
}

/** `-e git+https://…@commit#egg=name` is the package at that commit; other editable ones stay what they are. */
function editableOf(line: string): string | undefined {
  const found = /^(?:-e|--editable)(?: |=)(.+)$/.exec(line)?.[1];
  if (found === undefined) return undefined;
  const egg = /[#&]egg=([A-Za-z0-9._-]+)/.exec(found)?.[1];
  return egg === undefined || !found.startsWith("git+")
    ? `-e ${found}`
    : `${egg} @ ${found.replace(/[#&]egg=.*$/, "")}`;
}

function cleanLine(line: string): string {
  return line
    .replace(/((?:git\+)?[a-z]{2,10}:\/\/)[^/?#\s]*@(?=[^/\s]*\/)/i, "$1")
    .replace(/git\+ssh:\/\//, "git+https://");
}

/** The name of a line's package, as Python compares names; the line itself where it names none. */
export function packageOf(line: string): string {
  const name = /^([A-Za-z0-9][A-Za-z0-9._-]*)/.exec(line)?.[1];
  return name === undefined ? line : name.toLowerCase().replaceAll(/[._-]+/g, "-");
}

/** The version a lock has of a package; null where it has none, or not by a version. */
export function lockedVersion(lines: readonly string[], name: string): string | null {
  for (const line of lines) {
    if (packageOf(line) !== name) continue;
    return /^[A-Za-z0-9._-]+(?:\[[^\]]*\])? *={2,3} *([^\s;]+)/.exec(line)?.[1] ?? null;
  }
  return null;
}

/** The text of a requirements file. The first index stands in place of pip's own, as in a manifest. */
export function writeRequirements(lines: readonly string[], indexes: readonly string[]): string {
  const options = indexes.map((index, at) => `${at === 0 ? "--index-url" : "--extra-index-url"} ${index}`);
  return [...options, ...lines].map((line) => `${line}\n`).join("");
}
