/** From what callers write for a file input (an id, an address, a data URI) to files that lie in R2. */
import { FileId, type WorkspaceId } from "#contract/ids";
import { DATA_URI_BYTES_MAX, FILE_RETENTION_DAYS } from "#contract/limits";
import { type FieldError, Problem, type ProblemCode } from "#contract/problems";
import { guardUrl } from "#contract/public-url";
import type { MediaKind } from "#contract/workflow";
import type { StoredInputFile } from "#durable-objects/endpoint/rpc";
import { extendFiles, type FileRow, selectFiles } from "#worker/catalog/files";
import type { Arrival } from "#worker/http/call";
import type { Alone } from "#worker/http/idempotent";
import { summary } from "#worker/http/json-body";
import { misfit } from "#worker/inputs/check-file";
import { decodeDataUri } from "#worker/inputs/data-uri";
import { fetchInput } from "#worker/inputs/fetch-input";
import { storeFile } from "#worker/inputs/store-file";

/** One value of a file input. */
export interface WantedFile {
  /** JSON Pointer into the request's body. */
  readonly path: string;
  readonly value: string;
  readonly media: MediaKind;
}

type Found = { readonly ok: true; readonly file: FileRow } | { readonly ok: false; readonly problem: Problem };

const DAY_MS = 86_400_000;
/** A Worker may hold six connections, and fetching and storing one file may take two. */
const AT_ONCE_MAX = 3;
/** Wrong files that one answer lists. */
const ERRORS_MAX = 20;

/**
 * The files of all these values, each distinct value looked up, fetched and stored once.
 * @param alone around what fetches: the same call sent again meanwhile is refused in there
 * @returns a row for each, in their order
 * @throws Problem invalid_url, url_fetch_failed, invalid_file, file_not_found; invalid_inputs when they differ
 */
export async function resolveFiles(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  wanted: readonly WantedFile[],
  alone: Alone = atOnce,
): Promise<FileRow[]> {
  if (wanted.length === 0) return [];
  const fetches = wanted.some(({ value }) => /^https?:/i.test(value));
  const found = await (fetches ? alone : atOnce)(() => findDistinct(arrival, workspaceId, kindsByValue(wanted)));
  const broken: { code: ProblemCode; error: FieldError }[] = [];
  const files: FileRow[] = [];
  for (const { path, value, media } of wanted) {
    const result = found.get(value) ?? unknownFile();
    if (!result.ok) {
      broken.push({ code: result.problem.code, error: { path, reason: result.problem.message } });
      continue;
    }
    const wrong = misfit(result.file.contentType, media);
    if (wrong === undefined) files.push(result.file);
    else broken.push({ code: "invalid_file", error: { path, reason: wrong } });
  }
  refuseBroken(broken);
  await keepUsed(arrival, workspaceId, files);
  return files;
}

const atOnce: Alone = (run) => run();

/** What each distinct value is for; a value that is for two kinds of inputs may be any file until it is looked at. */
function kindsByValue(wanted: readonly WantedFile[]): Map<string, MediaKind> {
  const kinds = new Map<string, MediaKind>();
  for (const { value, media } of wanted) {
    const known = kinds.get(value);
    kinds.set(value, known === undefined || known === media ? media : "file");
  }
  return kinds;
}

/** Extensions of the formats we know, the usual one first. */
const EXTENSIONS: Readonly<Record<string, readonly string[]>> = {
  "image/png": ["png", "apng"],
  "image/jpeg": ["jpg", "jpeg", "jpe", "jfif"],
  "image/webp": ["webp"],
  "image/gif": ["gif"],
  "image/bmp": ["bmp", "dib"],
  "audio/wav": ["wav"],
  "audio/flac": ["flac"],
  "audio/mpeg": ["mp3"],
  "audio/ogg": ["ogg", "oga", "opus"],
  "audio/mp4": ["m4a", "mp4"],
  "audio/webm": ["webm", "weba"],
  "audio/x-matroska": ["mka", "mkv"],
  "video/mp4": ["mp4", "m4v"],
  "video/quicktime": ["mov", "qt"],
  "video/webm": ["webm"],
  "video/x-matroska": ["mkv"],
  "video/ogg": ["ogv", "ogg"],
};

/** The name with an extension of its type: ComfyUI's nodes go by extensions, and a name is only what a sender wrote. */
function typedName(filename: string, contentType: string): string {
  const fitting = EXTENSIONS[contentType];
  const extension = /\.([^.]*)$/.exec(filename)?.[1]?.toLowerCase() ?? "";
  const [usual] = fitting ?? [];
  return usual === undefined || fitting?.includes(extension) === true ? filename : `${filename.slice(0, 250)}.${usual}`;
}

/** A file as a job's lease names it. @param index its place among the job's files */
export function inputFile(file: FileRow, input: string, index: number): StoredInputFile {
  return {
    index,
    input,
    file_id: file.id,
    filename: typedName(file.filename, file.contentType),
    content_type: file.contentType,
    size: file.size,
    sha256: file.sha256,
    key: file.key,
  };
}

/** True for a value that has to be fetched or stored first. */
export function isNewFile(value: string): boolean {
  return !FileId.safeParse(value).success;
}

async function findDistinct(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  kinds: ReadonlyMap<string, MediaKind>,
): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  const ids = [...kinds.keys()].flatMap((value) => FileId.safeParse(value).data ?? []);
  for (const file of await selectFiles(arrival.env.CATALOG, workspaceId, ids, Date.now())) {
    found.set(file.id, { ok: true, file });
  }
  const fresh = [...kinds].filter(([value]) => isNewFile(value)).values();
  const worker = async (): Promise<void> => {
    for (const [value, media] of fresh) found.set(value, await madeFile(arrival, workspaceId, value, media));
  };
  await Promise.all(Array.from({ length: AT_ONCE_MAX }, worker));
  return found;
}

function unknownFile(): Found {
  return {
    ok: false,
    problem: new Problem("file_not_found", "Your workspace has no such file; upload it first."),
  };
}

const CALLER_PROBLEMS: readonly ProblemCode[] = ["invalid_file", "invalid_url", "url_fetch_failed"];

async function madeFile(arrival: Arrival, workspaceId: WorkspaceId, value: string, media: MediaKind): Promise<Found> {
  try {
    return { ok: true, file: await storedFile(arrival, workspaceId, value, media) };
  } catch (error) {
    // Only what the caller can mend is listed beside the others.
    if (!(error instanceof Problem) || !CALLER_PROBLEMS.includes(error.code)) throw error;
    return { ok: false, problem: error };
  }
}

async function storedFile(
  arrival: Arrival,
  workspaceId: WorkspaceId,
  value: string,
  media: MediaKind,
): Promise<FileRow> {
  const { env } = arrival;
  if (value.slice(0, 5).toLowerCase() === "data:") {
    const decoded = decodeDataUri(value);
    if (!decoded.ok) throw new Problem("invalid_file", decoded.reason);
    const { bytes, contentType } = decoded;
    if (bytes.byteLength > DATA_URI_BYTES_MAX) {
      throw new Problem("invalid_file", `A data: URI may hold ${DATA_URI_BYTES_MAX} bytes; upload the file instead.`);
    }
    return (await storeFile(env, workspaceId, { chunks: once(bytes), filename: "file", contentType, media })).file;
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(value)) {
    const guarded = guardUrl(value, {
      allowLoopback: env.ALLOW_LOOPBACK_URLS === "true",
      ownHosts: [arrival.url.host],
    });
    if (!guarded.ok) throw new Problem("invalid_url", guarded.reason);
    return (await storeFile(env, workspaceId, { ...(await fetchInput(guarded.url)), media })).file;
  }
  throw new Problem("invalid_file", "Must be the id of an uploaded file (file_…), an https:// URL or a data: URI.");
}

/** Keeps the files for another retention time. */
async function keepUsed(arrival: Arrival, workspaceId: WorkspaceId, files: readonly FileRow[]): Promise<void> {
  const keptUntil = Date.now() + FILE_RETENTION_DAYS * DAY_MS;
  // A day is soon enough: most submits need not write to the catalog.
  const ageing = files.filter((file) => file.expiresAt < keptUntil - DAY_MS).map(({ id }) => id);
  await extendFiles(arrival.env.CATALOG, workspaceId, [...new Set(ageing)], keptUntil);
}

/** Throws when any file is broken: with the code they share, or as inputs that do not fit. */
function refuseBroken(broken: readonly { code: ProblemCode; error: FieldError }[]): void {
  const [first] = broken;
  if (first === undefined) return;
  const errors = broken.map(({ error }) => error);
  const code = broken.every((one) => one.code === first.code) ? first.code : "invalid_inputs";
  throw new Problem(code, summary(errors), { errors: errors.slice(0, ERRORS_MAX) });
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
