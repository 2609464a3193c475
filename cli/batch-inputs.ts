/** The inputs of a batch from the command line: a file of JSON lines, or a sweep. */
import { CliError } from "#cli/errors";
import { type InputValue, inputValue, readLocalFile, uploadFiles } from "#cli/input-values";
import type { Pilotlight } from "#client/pilotlight";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { BATCH_JOBS_MAX } from "#contract/limits";
import type { InputSpec } from "#contract/workflow";

export type SentValue = string | number | bigint | boolean;

/** What the functions need besides words. */
export interface Surroundings {
  readonly client: Pilotlight;
  readonly specs: readonly InputSpec[];
  readonly workingDirectory: string;
  readonly onUpload: (path: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Reads `--file`: one JSON object of inputs on each line; empty lines are passed over. Whole numbers keep every digit.
 * @throws CliError `usage`, which names the line
 */
export function inputLines(text: string, source: string): JsonObject[] {
  const inputs: JsonObject[] = [];
  for (const [index, line] of text
    .replace(/^\uFEFF/, "")
    .split("\n")
    .entries()) {
    if (line.trim() === "") continue;
    const where = `line ${index + 1} of ${source}`;
    let value: unknown;
    try {
      value = parseExactJson(line);
    } catch (cause) {
      throw new CliError("usage", `${where} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
    if (!isJsonObject(value)) throw new CliError("usage", `${where} is not a JSON object of inputs`);
    inputs.push(value);
    if (inputs.length > BATCH_JOBS_MAX) throw tooMany(`${source} holds more than ${BATCH_JOBS_MAX} lines`);
  }
  if (inputs.length === 0) throw new CliError("usage", `${source} holds no inputs`);
  return inputs;
}

/**
 * Reads `--sweep name=values`: `1..100`, `@file` with one value on each line, or values between commas.
 * @throws CliError `usage`, `invalid_input`, `file_unreadable`
 */
export async function sweptValues(sweep: string, around: Surroundings): Promise<{ name: string; values: SentValue[] }> {
  const equals = sweep.indexOf("=");
  if (equals < 1) throw new CliError("usage", `--sweep takes name=values, not ${sweep}`);
  const name = sweep.slice(0, equals);
  const texts = await textsOf(name, sweep.slice(equals + 1), around);
  if (texts.length > BATCH_JOBS_MAX) throw tooMany(`${name} has ${texts.length} values`);
  const values: InputValue[] = texts.map((text) => inputValue(`${name}=${text}`, around.specs).value);
  const files = new Map<string, InputValue>();
  for (const value of values) if (typeof value === "object") files.set(value.path, value);
  const ids = await upload(files, around);
  return { name, values: values.map((value) => (typeof value === "object" ? (ids[value.path] ?? "") : value)) };
}

async function textsOf(name: string, text: string, around: Surroundings): Promise<string[]> {
  const spec = around.specs.find((each) => each.name === name);
  const range = /^([+-]?[0-9]{1,40})\.\.([+-]?[0-9]{1,40})$/.exec(text);
  if (range?.[1] !== undefined && range[2] !== undefined && spec?.type !== "string")
    return counted(name, range[1], range[2]);
  // A file input's @path is the file itself.
  if (!text.startsWith("@") || spec?.type === "file") return text.split(",").map((each) => each.trim());
  const content = new TextDecoder().decode(await readLocalFile(text.slice(1), around.workingDirectory));
  const lines = content
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "");
  if (lines.length === 0) throw new CliError("usage", `${text.slice(1)} holds no values`);
  return lines;
}

function counted(name: string, from: string, to: string): string[] {
  const [first, last] = [BigInt(from.replace("+", "")), BigInt(to.replace("+", ""))];
  const count = last - first + 1n;
  if (count < 1n) throw new CliError("usage", `${name}=${from}..${to} counts backwards`);
  if (count > BigInt(BATCH_JOBS_MAX)) throw tooMany(`${name}=${from}..${to} has ${count} values`);
  return Array.from({ length: Number(count) }, (_, index) => String(first + BigInt(index)));
}

/** Reads `-i name=value`, uploads files. @throws CliError `invalid_input`, `file_unreadable` */
export async function sharedInputs(assignments: readonly string[], around: Surroundings): Promise<JsonObject> {
  const values = new Map<string, InputValue>();
  for (const assignment of assignments) {
    const { name, value } = inputValue(assignment, around.specs);
    values.set(name, value);
  }
  return await upload(values, around);
}

function upload(values: ReadonlyMap<string, InputValue>, around: Surroundings): Promise<Record<string, SentValue>> {
  return uploadFiles(values, around.client, around.workingDirectory, around.onUpload, around.signal);
}

function tooMany(what: string): CliError {
  return new CliError("usage", `${what}; a batch takes ${BATCH_JOBS_MAX} jobs`, "Send several batches.");
}
