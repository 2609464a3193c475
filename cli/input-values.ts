/** `-i name=value` on the command line, and the value it stands for. */
import { readFile, stat } from "node:fs/promises";
import { basename, extname, resolve } from "node:path";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";
import { nearestWord } from "#cli/nearest-word";
import type { Pilotlight } from "#client/pilotlight";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";

/** A file input that the command line names: it is uploaded first. */
export interface LocalFile {
  readonly path: string;
}
export type InputValue = string | number | bigint | boolean | LocalFile;

/**
 * Reads one `name=value` by the input's type. Files are `@path`; a URL, a data: URI or a file id goes as it is.
 * @throws CliError `invalid_input` with what the input takes
 */
export function inputValue(assignment: string, specs: readonly InputSpec[]): { name: string; value: InputValue } {
  const equals = assignment.indexOf("=");
  if (equals < 1) throw new CliError("usage", `-i takes name=value, not ${assignment}`);
  const name = assignment.slice(0, equals);
  const text = assignment.slice(equals + 1);
  const spec = specs.find((each) => each.name === name);
  if (spec === undefined) {
    const names = specs.map((each) => each.name);
    const near = nearestWord(name, names);
    const hint = near === undefined ? `Its inputs: ${names.join(", ") || "none"}` : `Did you mean ${near}?`;
    throw new CliError("invalid_input", `The endpoint has no input ${name}`, hint);
  }
  const refuse = (what: string): never => {
    throw new CliError("invalid_input", `${name} takes ${what}, not ${JSON.stringify(text)}`);
  };
  switch (spec.type) {
    case "string":
      return { name, value: text };
    case "integer": {
      if (!/^[+-]?[0-9]{1,40}$/.test(text)) return refuse("a whole number");
      const exact = BigInt(text.replace("+", ""));
      return { name, value: Number.isSafeInteger(Number(exact)) ? Number(exact) : exact };
    }
    case "number": {
      const number = text.trim() === "" ? Number.NaN : Number(text);
      return Number.isFinite(number) ? { name, value: number } : refuse("a number");
    }
    case "boolean":
      if (["true", "yes", "on", "1"].includes(text)) return { name, value: true };
      if (["false", "no", "off", "0"].includes(text)) return { name, value: false };
      return refuse("true or false");
    case "choice": {
      const choice = spec.choices.find((each) => String(each) === text);
      // The service names all choices in its refusal.
      return { name, value: choice ?? text };
    }
    case "file":
      return { name, value: text.startsWith("@") ? { path: text.slice(1) } : text };
  }
}

/**
 * Reads `--json-inputs`: a JSON object, `@file`, or `@-` for standard input. Whole numbers keep every digit.
 * @throws CliError `file_unreadable`, `usage`
 */
export async function jsonInputs(
  source: string,
  workingDirectory: string,
  readStdin: () => Promise<Uint8Array<ArrayBuffer>>,
): Promise<JsonObject> {
  const text = source.startsWith("@")
    ? new TextDecoder().decode(
        source === "@-" ? await readStdin() : await readLocalFile(source.slice(1), workingDirectory),
      )
    : source;
  let value: unknown;
  try {
    value = parseExactJson(text.replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw new CliError("usage", `--json-inputs is not JSON: ${cause instanceof Error ? cause.message : cause}`);
  }
  if (!isJsonObject(value)) throw new CliError("usage", "--json-inputs must be a JSON object of inputs");
  return value;
}

/** Uploads the files among the values and puts their ids in their place. */
export async function uploadFiles(
  values: ReadonlyMap<string, InputValue>,
  client: Pilotlight,
  workingDirectory: string,
  onUpload: (path: string) => void,
  signal: AbortSignal,
): Promise<Record<string, string | number | bigint | boolean>> {
  const inputs: Record<string, string | number | bigint | boolean> = {};
  for (const [name, value] of values) {
    if (typeof value !== "object") {
      inputs[name] = value;
      continue;
    }
    const content = await readLocalFile(value.path, workingDirectory);
    onUpload(value.path);
    const file = await client.files.upload(content, {
      filename: basename(value.path),
      contentType: contentTypeOf(value.path),
      signal,
    });
    inputs[name] = file.id;
  }
  return inputs;
}

/**
 * @param bytesMax how large the file may be
 * @param tooLarge what to do with one that is larger
 * @throws CliError `file_unreadable`
 */
export async function readLocalFile(
  path: string,
  workingDirectory: string,
  bytesMax = Number.POSITIVE_INFINITY,
  tooLarge?: string,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (bytesMax < Number.POSITIVE_INFINITY) {
      const { size } = await stat(resolve(workingDirectory, path));
      if (size > bytesMax)
        throw new CliError("file_unreadable", `${path} has ${size} bytes; at most ${bytesMax} are read`, tooLarge);
    }
    return new Uint8Array(await readFile(resolve(workingDirectory, path)));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError("file_unreadable", `${path} cannot be read: ${fileReason(cause)}`, undefined, { cause });
  }
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".jpeg": "image/jpeg",
  ".webp": "image/webp",
  ".gif": "image/gif",
  ".mp4": "video/mp4",
  ".webm": "video/webm",
  ".mov": "video/quicktime",
  ".wav": "audio/wav",
  ".mp3": "audio/mpeg",
  ".flac": "audio/flac",
  ".ogg": "audio/ogg",
};

/** By the name's ending; the service looks into the bytes itself. */
export function contentTypeOf(path: string): string {
  return CONTENT_TYPES[extname(path).toLowerCase()] ?? "application/octet-stream";
}
