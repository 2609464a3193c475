/**
 * Reading a model's file from where it is: an address, Hugging Face or Civitai. Every request goes through the one guarded
 * way out, every redirect is judged like the first address, and a token goes to its own host alone.
 */
import * as z from "zod";
import { civitaiAddress, hfAddress, type ModelOrigin } from "#contract/model-source";
import { guardUrl, type PublicUrl, type UrlRules } from "#contract/public-url";
import { type FetchFailure, fetchGuarded, type OpenAnswer, openGuarded } from "#durable-objects/egress/guarded-fetch";
import type { Probed } from "#durable-objects/models/imports";

export interface ImportSettings {
  readonly rules: UrlRules;
  /** Without a slash at their ends. */
  readonly hfEndpoint: string;
  readonly civitaiEndpoint: string;
  /** Secrets of the deployment; "" when it has none. */
  readonly hfToken: string;
  readonly civitaiToken: string;
}

/** Why a file cannot be had. */
export interface SourceFailure {
  readonly ok: false;
  /** Trying again later cannot help. */
  readonly final: boolean;
  /** A sentence for the caller; it holds neither tokens nor queries. */
  readonly reason: string;
}

/** A first address, and what is known of its file before it is asked. */
interface Start {
  readonly url: string;
  /** Sent as long as every address so far is of the first one's origin; "": none. */
  readonly token: string;
  /** What to do where the source wants to know who asks. */
  readonly hint: string;
  readonly sha256: string | null;
}

/** An answer with the file, or a part of it. */
export interface SourceAnswer {
  readonly ok: true;
  readonly answer: OpenAnswer;
  /** Where it was found behind all redirects; it can be asked again for a while. */
  readonly address: string;
  readonly sha256: string | null;
}

/** Hugging Face takes two, Civitai one. */
const REDIRECTS_MAX = 5;
const PROBE_MS = 30_000;
const DESCRIPTION_BYTES_MAX = 1024 * 1024;
const LINKED_HASH = /^(?:W\/)?"?([0-9a-f]{64})"?$/;

const CivitaiVersion = z.object({
  files: z.array(
    z.object({
      downloadUrl: z.string(),
      primary: z.boolean().optional(),
      hashes: z.object({ SHA256: z.string().optional() }).optional(),
    }),
  ),
});

/**
 * Asks for the first byte, to learn how long the file is and whether ranges of it can be had.
 * @param sha256 which file is wanted, where the source has several
 */
export async function probeSource(
  origin: ModelOrigin,
  sha256: string | null,
  settings: ImportSettings,
): Promise<{ readonly ok: true; readonly probed: Probed } | SourceFailure> {
  const opened = await openSource(origin, sha256, settings, { range: "bytes=0-0" }, PROBE_MS);
  if (!opened.ok) return opened;
  const { status, headers } = opened.answer;
  await opened.answer.discard();
  if (status === 206) {
    const total = /^bytes 0-0\/([0-9]{1,15})$/.exec(headers.get("content-range") ?? "")?.[1];
    const size = total === undefined ? null : Number(total);
    return {
      ok: true,
      probed: { size, sha256: opened.sha256, ranged: size !== null, validator: validatorOf(headers) },
    };
  }
  const length = headers.get("content-encoding") === null ? headers.get("content-length") : null;
  const size = length !== null && /^[0-9]{1,15}$/.test(length) ? Number(length) : null;
  return { ok: true, probed: { size, sha256: opened.sha256, ranged: false, validator: null } };
}

/**
 * Opens the file from its source, behind all redirects. Answers 200 and 206 alone are successes.
 * @param headers of ours, sent at each step
 * @param deadlineMs for each step, the last one's body included
 */
export async function openSource(
  origin: ModelOrigin,
  sha256: string | null,
  settings: ImportSettings,
  headers: Readonly<Record<string, string>>,
  deadlineMs: number,
): Promise<SourceAnswer | SourceFailure> {
  const start = await startOf(origin, sha256, settings);
  return "ok" in start ? start : openFrom(start, settings, headers, deadlineMs);
}

/** Opens the address where the file was found a moment ago. No token goes there. */
export function openAddress(
  address: string,
  settings: ImportSettings,
  headers: Readonly<Record<string, string>>,
  deadlineMs: number,
): Promise<SourceAnswer | SourceFailure> {
  return openFrom({ url: address, token: "", hint: "", sha256: null }, settings, headers, deadlineMs);
}

async function startOf(
  origin: ModelOrigin,
  sha256: string | null,
  settings: ImportSettings,
): Promise<Start | SourceFailure> {
  switch (origin.kind) {
    case "https":
      return { url: origin.url, token: "", hint: "A token or signature belongs into its query", sha256: null };
    case "hf": {
      const hint =
        settings.hfToken === ""
          ? "If the repository is private or gated, set the deployment's secret HF_TOKEN"
          : "HF_TOKEN must belong to somebody who may read the repository";
      return { url: hfAddress(settings.hfEndpoint, origin), token: settings.hfToken, hint, sha256: null };
    }
    case "civitai":
      return civitaiStart(origin, sha256, settings);
    default:
      throw new Error(`unhandled: ${JSON.stringify(origin satisfies never)}`);
  }
}

async function civitaiStart(
  origin: Extract<ModelOrigin, { kind: "civitai" }>,
  sha256: string | null,
  settings: ImportSettings,
): Promise<Start | SourceFailure> {
  const verdict = guardUrl(civitaiAddress(settings.civitaiEndpoint, origin), settings.rules);
  if (!verdict.ok) return { ok: false, final: true, reason: `Civitai may not be asked. ${verdict.reason}` };
  const token = settings.civitaiToken;
  const answer = await fetchGuarded(verdict.url, {
    method: "GET",
    headers: { accept: "application/json", ...authorization(token) },
    deadlineMs: PROBE_MS,
    bytesMax: DESCRIPTION_BYTES_MAX,
  });
  const hint =
    token === ""
      ? "If the file is not for everybody, set the deployment's secret CIVITAI_TOKEN"
      : "CIVITAI_TOKEN must belong to somebody who may download the file";
  if (!answer.ok) return failureOf(answer);
  if (answer.status !== 200) return refusedStatus(answer.status, hint);
  const version = CivitaiVersion.safeParse(jsonOf(answer.body));
  if (!version.success)
    return { ok: false, final: true, reason: "Civitai's description of the version is not understood." };
  const hashed = version.data.files.map((file) => ({ ...file, sha256: file.hashes?.SHA256?.toLowerCase() ?? null }));
  const file =
    sha256 === null
      ? (hashed.find(({ primary }) => primary === true) ?? hashed[0])
      : (hashed.find((each) => each.sha256 === sha256) ?? hashed.find((each) => each.sha256 === null));
  if (file === undefined) return { ok: false, final: true, reason: "The version has no file of that sha256." };
  const isOwn = URL.parse(file.downloadUrl)?.origin === verdict.url.origin;
  const known = file.sha256 !== null && /^[0-9a-f]{64}$/.test(file.sha256) ? file.sha256 : null;
  return { url: file.downloadUrl, token: isOwn ? token : "", hint, sha256: known };
}

async function openFrom(
  start: Start,
  settings: ImportSettings,
  headers: Readonly<Record<string, string>>,
  deadlineMs: number,
): Promise<SourceAnswer | SourceFailure> {
  let address = start.url;
  let { token, sha256 } = start;
  let home: string | null = null;
  for (let step = 0; step <= REDIRECTS_MAX; step += 1) {
    const verdict = guardUrl(address, settings.rules);
    if (!verdict.ok) {
      const what =
        step === 0 ? "The address may not be fetched." : "It redirects to an address that may not be fetched.";
      return { ok: false, final: true, reason: `${what} ${verdict.reason}` };
    }
    home ??= verdict.url.origin;
    // Once the way has left the token's own host, nothing on it gets the token, should it lead back as well.
    if (verdict.url.origin !== home) token = "";
    const answer = await openGuarded(verdict.url, {
      method: "GET",
      // Ranges are of the file itself, not of its packed form.
      headers: { "accept-encoding": "identity", ...headers, ...authorization(token) },
      deadlineMs,
    });
    if (!answer.ok) return failureOf(answer);
    if (step === 0 && sha256 === null)
      sha256 = LINKED_HASH.exec(linkedHash(answer, verdict.url, settings))?.[1] ?? null;
    const { status } = answer;
    const location = answer.headers.get("location");
    if ([301, 302, 303, 307, 308].includes(status) && location !== null) {
      await answer.discard();
      const next = URL.parse(location, verdict.url.href);
      if (next === null) return { ok: false, final: true, reason: "It redirects to what is no address." };
      next.hash = "";
      address = next.href;
      continue;
    }
    if (status !== 200 && status !== 206) {
      await answer.discard();
      return refusedStatus(status, start.hint);
    }
    if (/^text\/html/i.test(answer.headers.get("content-type") ?? "")) {
      await answer.discard();
      return { ok: false, final: true, reason: withHint("It answers with a web page, not with a file.", start.hint) };
    }
    return { ok: true, answer, address, sha256 };
  }
  return { ok: false, final: true, reason: `It redirects more than ${REDIRECTS_MAX} times.` };
}

/** Hugging Face says the sha256 of a large file beside its redirect; of any other server the header means nothing. */
function linkedHash(answer: OpenAnswer, url: PublicUrl, { hfEndpoint }: ImportSettings): string {
  return url.origin === URL.parse(hfEndpoint)?.origin ? (answer.headers.get("x-linked-etag") ?? "") : "";
}

/** What names this version of the file, for If-Range: a strong ETag, or else a date. */
function validatorOf(headers: Headers): string | null {
  const etag = headers.get("etag");
  return etag?.startsWith('"') === true ? etag : headers.get("last-modified");
}

function authorization(token: string): Record<string, string> {
  return token === "" ? {} : { authorization: `Bearer ${token}` };
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}

const FAILURES: Readonly<Record<FetchFailure["why"], string>> = {
  timeout: "Its source did not answer in time.",
  unreachable: "Its source could not be reached; its name must lead to a public address.",
  broken_off: "Its source broke off.",
};

/** A connection that failed may hold the next time. */
export function failureOf({ why }: FetchFailure): SourceFailure {
  return { ok: false, final: false, reason: FAILURES[why] };
}

function refusedStatus(status: number, hint: string): SourceFailure {
  const mayPass = status >= 500 || status === 408 || status === 425 || status === 429;
  const wantsToKnowWho = status === 401 || status === 403;
  const said = `Its source answered ${status}.`;
  return { ok: false, final: !mayPass, reason: wantsToKnowWho ? withHint(said, hint) : said };
}

function withHint(text: string, hint: string): string {
  return hint === "" ? text : `${text} ${hint}.`;
}
