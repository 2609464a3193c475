/** The log of a release's verification: as lines of text, or as events while it goes on. */
import { SSE_KEEPALIVE_MS } from "#contract/limits";
import type { ReleaseLogLine } from "#contract/verification";
import type { ReleaseLogReply } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import { lineEvent, logStream, orNothing } from "#worker/endpoints/log-stream";
import type { Env } from "#worker/env";
import { askTold } from "#worker/placement/told-endpoint";

interface Followed {
  readonly env: Env;
  readonly found: EndpointSummary;
  readonly release: number;
}

/** All lines that are kept, one below the other. */
export async function releaseLogText(followed: Followed): Promise<Response> {
  const lines: string[] = [];
  let after = 0;
  for (;;) {
    const reply = await look(followed, after, 0);
    lines.push(...reply.lines.map(textOf));
    const last = reply.lines.at(-1);
    if (last === undefined) break;
    after = last.n;
  }
  return new Response(lines.map((line) => `${line}\n`).join(""), {
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
  });
}

function textOf({ at, gpu_type, replica_id, text }: ReleaseLogLine): string {
  return [at, gpu_type ?? "-", replica_id ?? "-", text].join(" ");
}

/**
 * Lines as events, from the one after `after` to the end.
 * @throws Problem too_many_watchers
 */
export async function releaseLogStream(followed: Followed, after: number): Promise<Response> {
  let seen = after;
  return logStream(
    await look(followed, after, 1),
    ({ lines }) => {
      seen = lines.at(-1)?.n ?? seen;
      return lines.map((line) => lineEvent(line.n, line)).join("");
    },
    () => look(followed, seen, SSE_KEEPALIVE_MS),
  );
}

/** Resolves when nobody waits for the release any more, or after `waitS` seconds, or when nobody can tell. */
export async function untilPlaced(env: Env, found: EndpointSummary, release: number, waitS: number): Promise<void> {
  const deadline = Date.now() + waitS * 1_000;
  let seen = 0;
  for (;;) {
    const leftMs = deadline - Date.now();
    if (leftMs <= 0) return;
    const reply = await orNothing(() => look({ env, found, release }, seen, leftMs));
    if (reply === null || reply.ended) return;
    seen = reply.lines.at(-1)?.n ?? seen;
  }
}

function look({ env, found, release }: Followed, after: number, waitMs: number): Promise<ReleaseLogReply> {
  const { workspaceId } = found.endpoint;
  return askTold(env, found, "repeatable", (object) => object.watchReleaseLog(workspaceId, release, after, waitMs));
}
