/** From the inputs of a batch to those of its jobs: each checked as a single job's are, each file resolved once. */
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import { JSON_BODY_BYTES_MAX } from "#contract/limits";
import { type FieldError, Problem } from "#contract/problems";
import type { InputSpec } from "#contract/workflow";
import type { BatchItem } from "#durable-objects/endpoint/rpc";
import type { FileRow } from "#worker/catalog/files";
import type { Arrival } from "#worker/http/call";
import { summary } from "#worker/http/json-body";
import { inputFile, isNewFile, resolveFiles, type WantedFile } from "#worker/inputs/resolve-files";
import { checkInputs, mediaOf } from "#worker/inputs/resolve-inputs";
import type { BatchEntry } from "#worker/jobs/expand-batch";
import type { ValidInputs } from "#workflow/validate-inputs";

/** Errors of one answer: a wrong value in every item says nothing new after these. */
const ERRORS_MAX = 20;
/** Files that one batch has the service fetch or store: each takes a moment of the one request. */
const NEW_FILES_MAX = 64;
/** Characters of all jobs' inputs: they go to the object in one message, which holds 32 MiB. */
const INPUTS_LENGTH_MAX = 12_000_000;

interface Checked {
  readonly entry: BatchEntry;
  readonly valid: ValidInputs;
}

/**
 * Checks every job before a file is fetched, so that a bad request costs nothing.
 * @returns what each job holds, in the order of the entries
 * @throws Problem invalid_inputs with the path of each wrong value; those of files; invalid_batch when it is too large
 */
export async function resolveBatch(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  specs: readonly InputSpec[],
  entries: Iterable<BatchEntry>,
): Promise<BatchItem[]> {
  const checked = checkedEntries(arrival, specs, entries);
  const wanted = wantedFiles(checked, specs);
  if (new Set(wanted.map(({ value }) => value).filter(isNewFile)).size > NEW_FILES_MAX) {
    throw tooLarge(`A batch may bring ${NEW_FILES_MAX} URLs and data: URIs; upload its files and give their ids.`);
  }
  const files = await resolveFiles(arrival, workspaceId, wanted);
  return items(checked, files);
}

function checkedEntries(arrival: Arrival, specs: readonly InputSpec[], entries: Iterable<BatchEntry>): Checked[] {
  const checked: Checked[] = [];
  // By path: jobs of a sweep share wrong values.
  const errors = new Map<string, FieldError>();
  for (const entry of entries) {
    const valid = checkInputs(arrival, specs, entry.sent);
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
  return checked;
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
    length += inputs.length;
    if (length > INPUTS_LENGTH_MAX) {
      throw tooLarge(`The jobs' inputs are longer than ${INPUTS_LENGTH_MAX} characters together; send fewer at once.`);
    }
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

function tooLarge(reason: string): Problem {
  return new Problem("invalid_batch", reason, { errors: [{ path: "", reason }] });
}
