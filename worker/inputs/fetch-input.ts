import { FILE_BYTES_MAX, INPUT_FETCH_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { PublicUrl } from "#contract/public-url";
import { FetchBroken, type FetchFailure, openGuarded } from "#durable-objects/egress/guarded-fetch";

export interface FetchedInput {
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly contentType: string;
  readonly filename: string;
}

/**
 * Fetches a guarded URL: at most FILE_BYTES_MAX bytes within INPUT_FETCH_MS in all.
 * @throws Problem url_fetch_failed, also out of `chunks`
 */
export async function fetchInput(url: PublicUrl): Promise<FetchedInput> {
  const answer = await openGuarded(url, { method: "GET", deadlineMs: INPUT_FETCH_MS });
  if (!answer.ok) throw refused(answer);
  const { status, headers } = answer;
  if (status !== 200) {
    await answer.discard();
    throw failed(status >= 300 && status < 400 ? "redirects, which is not followed" : `answered ${status}`);
  }
  return {
    chunks: bounded(answer.chunks),
    contentType: headers.get("content-type") ?? "application/octet-stream",
    filename: decodedName(url.pathname.split("/").at(-1) ?? ""),
  };
}

async function* bounded(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let count = 0;
  try {
    for await (const chunk of chunks) {
      count += chunk.byteLength;
      if (count > FILE_BYTES_MAX) throw failed(`has more than ${FILE_BYTES_MAX} bytes`);
      yield chunk;
    }
  } catch (error) {
    throw error instanceof FetchBroken ? refused(error.failure) : error;
  }
}

const FAILURES: Readonly<Record<FetchFailure["why"], string>> = {
  timeout: `did not arrive within ${INPUT_FETCH_MS} ms`,
  unreachable: "could not be reached; its name must lead to a public address",
  broken_off: "broke off",
};

function refused({ why, cause }: FetchFailure): Problem {
  return failed(FAILURES[why], cause);
}

function failed(how: string, cause?: unknown): Problem {
  return new Problem("url_fetch_failed", `The URL ${how}.`, { cause });
}

function decodedName(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
