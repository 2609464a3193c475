/** From the inputs a caller sent to what a job holds: checked values, and files that lie in R2. */
import type { JsonObject } from "#contract/exact-json";
import { FileId, type WorkspaceId } from "#contract/ids";
import { DATA_URI_BYTES_MAX, FILE_RETENTION_DAYS } from "#contract/limits";
import { type FieldError, Problem, type ProblemCode } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import type { InputSpec, MediaKind } from "#contract/workflow";
import type { StoredInputFile } from "#durable-objects/endpoint/rpc";
import { extendFiles, type FileRow, selectFiles } from "#worker/catalog/files";
import type { Arrival } from "#worker/http/call";
import { summary } from "#worker/http/json-body";
import { misfit } from "#worker/inputs/check-file";
import { decodeDataUri } from "#worker/inputs/data-uri";
import { fetchInput } from "#worker/inputs/fetch-input";
import { storeFile } from "#worker/inputs/store-file";
import { problemOf } from "#worker/placement/objects";
import { validateInputs } from "#workflow/validate-inputs";

export interface ResolvedInputs {
  /** Normalised values; a file input's value is its file id. */
  readonly values: JsonObject;
  readonly files: readonly StoredInputFile[];
}

type Found =
  | { readonly ok: true; readonly file: FileRow }
  | { readonly ok: false; readonly code: ProblemCode; readonly error: FieldError };

const DAY_MS = 86_400_000;

/**
 * Checks everything first, then fetches and stores files, so that a bad request costs nothing and its answer names
 * every wrong field.
 * @throws Problem invalid_inputs; invalid_url, url_fetch_failed, invalid_file, file_not_found for files
 */
export async function resolveInputs(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  specs: readonly InputSpec[],
  sent: JsonObject,
): Promise<ResolvedInputs> {
  const allowLoopback = arrival.env.ALLOW_LOOPBACK_URLS === "true";
  const validated = validateInputs(specs, allowLoopback ? withLoopbackAsHttps(sent, specs) : sent, { randomSeed });
  if (!validated.ok) throw problemOf(validated);
  const found: { name: string; result: Found }[] = [];
  // One after the other: a Worker may hold six connections, and each of these may take two.
  for (const { name } of validated.files) {
    const value = String(sent[name]);
    found.push({ name, result: await resolveFile(arrival, workspaceId, name, value, mediaOf(specs, name)) });
  }
  refuseBroken(found.map(({ result }) => result));

  const values: JsonObject = Object.assign(Object.create(null), validated.values);
  const files: StoredInputFile[] = [];
  for (const { name, result } of found) {
    if (!result.ok) continue;
    const { file } = result;
    values[name] = file.id;
    files.push({
      index: files.length,
      input: name,
      file_id: file.id,
      filename: file.filename,
      content_type: file.contentType,
      size: file.size,
      sha256: file.sha256,
      key: file.key,
    });
  }
  const keptUntil = Date.now() + FILE_RETENTION_DAYS * DAY_MS;
  // A day is soon enough: most submits need not write to the catalog.
  const ageing = found.flatMap(({ result }) =>
    result.ok && result.file.expiresAt < keptUntil - DAY_MS ? [result.file.id] : [],
  );
  await extendFiles(arrival.env.CATALOG, workspaceId, ageing, keptUntil);
  return { values, files };
}

async function resolveFile(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  value: string,
  media: MediaKind,
): Promise<Found> {
  const refuse = (code: ProblemCode, reason: string): Found => ({
    ok: false,
    code,
    error: { path: `/inputs/${name}`, reason },
  });
  try {
    const file = await fileFor(arrival, workspaceId, value);
    const wrong = misfit(file.contentType, media);
    return wrong === undefined ? { ok: true, file } : refuse("invalid_file", wrong);
  } catch (error) {
    // Only what the caller can mend is listed beside the others.
    if (!(error instanceof Problem) || !CALLER_PROBLEMS.includes(error.code)) throw error;
    return refuse(error.code, error.message);
  }
}

const CALLER_PROBLEMS: readonly ProblemCode[] = ["file_not_found", "invalid_file", "invalid_url", "url_fetch_failed"];

async function fileFor(arrival: Arrival, workspaceId: WorkspaceId, value: string): Promise<FileRow> {
  const { env } = arrival;
  const id = FileId.safeParse(value);
  if (id.success) {
    const [file] = await selectFiles(env.CATALOG, workspaceId, [id.data], Date.now());
    if (file === undefined) throw new Problem("file_not_found", "Your workspace has no such file; upload it first.");
    return file;
  }
  if (value.slice(0, 5).toLowerCase() === "data:") {
    const decoded = decodeDataUri(value);
    if (!decoded.ok) throw new Problem("invalid_file", decoded.reason);
    const { bytes, contentType } = decoded;
    if (bytes.byteLength > DATA_URI_BYTES_MAX) {
      throw new Problem("invalid_file", `A data: URI may hold ${DATA_URI_BYTES_MAX} bytes; upload the file instead.`);
    }
    return (await storeFile(env, workspaceId, { chunks: once(bytes), filename: "file", contentType })).file;
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(value)) {
    const guarded = guardUrl(value, {
      allowLoopback: env.ALLOW_LOOPBACK_URLS === "true",
      ownHosts: [arrival.url.host],
    });
    if (!guarded.ok) throw new Problem("invalid_url", guarded.reason);
    return (await storeFile(env, workspaceId, await fetchInput(guarded.url))).file;
  }
  throw new Problem("invalid_file", "Must be the id of an uploaded file (file_…), an https:// URL or a data: URI.");
}

/**
 * The values with http addresses on this machine written as https, for a check that rightly knows only https. What is
 * fetched is the address that was sent.
 */
function withLoopbackAsHttps(sent: JsonObject, specs: readonly InputSpec[]): JsonObject {
  const values: JsonObject = Object.assign(Object.create(null), sent);
  for (const { name, type } of specs) {
    const value = values[name];
    if (type !== "file" || typeof value !== "string" || !/^http:/i.test(value)) continue;
    if (guardUrl(value, { allowLoopback: true, ownHosts: [] }).ok) values[name] = value.replace(/^http:/i, "https:");
  }
  return values;
}

/** Throws when any file is broken: with the code they share, or as inputs that do not fit. */
function refuseBroken(found: readonly Found[]): void {
  const broken = found.filter((result) => !result.ok);
  const [first] = broken;
  if (first === undefined) return;
  const errors = broken.map(({ error }) => error);
  const code = broken.every((result) => result.code === first.code) ? first.code : "invalid_inputs";
  throw new Problem(code, summary(errors), { errors });
}

function mediaOf(specs: readonly InputSpec[], name: string): MediaKind {
  const spec = specs.find((one) => one.name === name);
  return spec?.type === "file" ? spec.media : "file";
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Uniform over 0 to 2^53-1. */
function randomSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high >>> 11) * 2 ** 32 + low;
}
