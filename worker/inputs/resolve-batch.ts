/** From the inputs of a batch to those of its jobs: each checked as a single job's are, each file resolved once. */
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import { JSON_BODY_BYTES_MAX } from "#contract/limits";
import { type FieldError, Problem } from "#contract/problems";
import type { InputSpec } from "#contract/workflow";
import type { BatchItem } from "#durable-objects/endpoint/rpc";
import type { FileRow } from "#worker/catalog/files";
import type { Arrival } from "#worker/http/call";
import type { Alone } from "#worker/http/idempotent";
import { summary } from "#worker/http/json-body";
import { inputFile, isNewFile, resolveFiles, type WantedFile } from "#worker/inputs/resolve-files";
import { checkInputs, mediaOf } from "#worker/inputs/resolve-inputs";
import type { BatchEntry } from "#worker/jobs/expand-batch";
import { type ValidInputs, valueFault } from "#workflow/validate-inputs";

/** Errors of one answer: a wrong value in every item says nothing new after these. */
const ERRORS_MAX = 20;
/** Files that one batch has the service fetch or store: each takes a moment of the one request. */
const NEW_FILES_MAX = 64;
/** Characters of all jobs' inputs: they go to the object in one message, which holds 32 MiB. */
const INPUTS_LENGTH_MAX = 12_000_000;
/** What a job's file counts as: its record goes with the message too. */
const FILE_RECORD_LENGTH = 500;
/** File values beyond it can only be data: URIs; ids and addresses are shorter. */
const ADDRESS_LENGTH_MAX = 4_096;
/** Passes for a data: URI that has been checked already. */
const CHECKED_DATA_URI = "data:application/octet-stream;base64,AAAA";

interface Checked {
  readonly entry: BatchEntry;
  readonly valid: ValidInputs;
}

/**
 * Checks every job before a file is fetched, so that a bad request costs nothing.
 * @param alone around what fetches files
 * @returns what each job holds, in the order of the entries
 * @throws Problem invalid_inputs with the path of each wrong value; those of files; invalid_batch when it is too large
 */
export async function resolveBatch(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  specs: readonly InputSpec[],
  entries: Iterable<BatchEntry>,
  alone?: Alone,
): Promise<BatchItem[]> {
  const checked = checkedEntries(arrival, specs, entries);
  const wanted = wantedFiles(checked, specs);
  if (new Set(wanted.map(({ value }) => value).filter(isNewFile)).size > NEW_FILES_MAX) {
    throw tooLarge(`A batch may bring ${NEW_FILES_MAX} URLs and data: URIs; upload its files and give their ids.`);
  }
  const files = await resolveFiles(arrival, workspaceId, wanted, alone);
  return items(checked, files);
}

function checkedEntries(arrival: Arrival, specs: readonly InputSpec[], entries: Iterable<BatchEntry>): Checked[] {
  const checked: Checked[] = [];
  const shortened = shortening(specs);
  // By path: jobs of a sweep share wrong values.
  const errors = new Map<string, FieldError>();
  let length = 0;
  for (const entry of entries) {
    const sent = shortened(entry.sent);
    length += lengthOf(sent);
    // A sweep makes much of little: what will not fit is not looked through either.
    if (length > INPUTS_LENGTH_MAX) break;
    const valid = checkInputs(arrival, specs, sent);
    if (valid.ok) {
      checked.push({ entry, valid });
      continue;
    }
    for (const error of valid.errors ?? []) {
      const path = entry.pathOf(inputOf(error.path));
      errors.set(path, { ...error, path });
    }
    if (errors.size >= ERRORS_MAX) break;
  }
  if (errors.size > 0) {
    const shown = [...errors.values()].slice(0, ERRORS_MAX);
    throw new Problem("invalid_inputs", summary(shown), { errors: shown });
  }
  if (length > INPUTS_LENGTH_MAX) throw tooLong();
  return checked;
}

/** Puts something short in the place of long data: URIs, each looked through once: thousands of jobs may share one. */
function shortening(specs: readonly InputSpec[]): (sent: JsonObject) => JsonObject {
  const fileSpecs = specs.filter(({ type }) => type === "file");
  const fine = new Map<string, boolean>();
  return (sent) => {
    const long = fileSpecs.filter(({ name }) => {
      const value = sent[name];
      return typeof value === "string" && value.length > ADDRESS_LENGTH_MAX;
    });
    if (long.length === 0) return sent;
    const short: JsonObject = Object.assign(Object.create(null), sent);
    for (const spec of long) {
      const value = String(sent[spec.name]);
      const isFine = fine.get(value) ?? valueFault(spec, value) === undefined;
      fine.set(value, isFine);
      if (isFine) short[spec.name] = CHECKED_DATA_URI;
    }
    return short;
  };
}

/** Characters of a job's texts. */
function lengthOf(sent: JsonObject): number {
  let length = 0;
  for (const value of Object.values(sent)) if (typeof value === "string") length += value.length;
  return length;
}

/** The name of an input in a pointer like /inputs/width. */
function inputOf(path: string): string {
  return path.slice("/inputs/".length).replaceAll("~1", "/").replaceAll("~0", "~");
}

function wantedFiles(checked: readonly Checked[], specs: readonly InputSpec[]): WantedFile[] {
  return checked.flatMap(({ entry, valid }) =>
    valid.files.map(({ name }) => ({
      path: entry.pathOf(name),
      value: String(entry.sent[name]),
      media: mediaOf(specs, name),
    })),
  );
}

/** @param files one for each file input of each job, in order */
function items(checked: readonly Checked[], files: readonly FileRow[]): BatchItem[] {
  const left = files.values();
  const made: BatchItem[] = [];
  let length = 0;
  for (const { valid } of checked) {
    const values: JsonObject = Object.assign(Object.create(null), valid.values);
    const own = valid.files.flatMap(({ name }, index) => {
      const { value: file } = left.next();
      if (file === undefined) return [];
      values[name] = file.id;
      return inputFile(file, name, index);
    });
    const inputs = stringifyExactJson(values);
    length += inputs.length + own.length * FILE_RECORD_LENGTH;
    if (length > INPUTS_LENGTH_MAX) throw tooLong();
    if (inputs.length * 3 > JSON_BODY_BYTES_MAX && utf8Bytes(inputs) > JSON_BODY_BYTES_MAX) {
      throw tooLarge(`The inputs of job ${made.length} take more than ${JSON_BODY_BYTES_MAX} bytes.`);
    }
    made.push({ inputs, files: own });
  }
  return made;
}

function utf8Bytes(text: string): number {
  return new TextEncoder().encode(text).byteLength;
}

function tooLong(): Problem {
  return tooLarge(`The jobs' inputs are longer than ${INPUTS_LENGTH_MAX} characters together; send fewer at once.`);
}

function tooLarge(reason: string): Problem {
  return new Problem("invalid_batch", reason, { errors: [{ path: "", reason }] });
}
