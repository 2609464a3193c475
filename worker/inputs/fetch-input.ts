import { FILE_BYTES_MAX, INPUT_FETCH_MS } from "#contract/limits";
import { Problem } from "#contract/problems";

export interface FetchedInput {
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly contentType: string;
  readonly filename: string;
}

/**
 * Fetches a guarded URL: no redirects, no credentials, at most FILE_BYTES_MAX bytes within INPUT_FETCH_MS in all.
 * @throws Problem url_fetch_failed, also out of `chunks`
 */
export async function fetchInput(url: URL): Promise<FetchedInput> {
  const signal = AbortSignal.timeout(INPUT_FETCH_MS);
  let response: Response;
  try {
    response = await fetch(url, { redirect: "manual", signal, headers: { accept: "*/*", "user-agent": "pilotlight" } });
  } catch (error) {
    throw failed(signal.aborted ? `did not answer within ${INPUT_FETCH_MS} ms` : "could not be reached", error);
  }
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    const redirect = response.status >= 300 && response.status < 400;
    throw failed(redirect ? "redirects, which is not followed" : `answered ${response.status}`, undefined);
  }
  return {
    chunks: bounded(response.body, signal),
    contentType: response.headers.get("content-type") ?? "application/octet-stream",
    filename: decodedName(url.pathname.split("/").at(-1) ?? ""),
  };
}

async function* bounded(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let count = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      count += value.byteLength;
      if (count > FILE_BYTES_MAX) throw failed(`has more than ${FILE_BYTES_MAX} bytes`, undefined);
      yield value;
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw failed(signal.aborted ? `did not arrive within ${INPUT_FETCH_MS} ms` : "broke off", error);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function failed(how: string, cause: unknown): Problem {
  return new Problem("url_fetch_failed", `The URL ${how}.`, { cause });
}

function decodedName(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
