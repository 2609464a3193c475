/** The log of a release's verification: as lines of text, or as events while it goes on. */
import { stringifyExactJson } from "#contract/exact-json";
import { SSE_KEEPALIVE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { ReleaseLogLine } from "#contract/verification";
import type { ReleaseLogReply } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { isUnavailable } from "#worker/http/error-handler";
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
 * Lines as events, from the one after `after` to the end. Pull-driven: a slow reader makes the loop wait, a gone one ends
 * it.
 * @throws Problem too_many_watchers
 */
export async function releaseLogStream(followed: Followed, after: number): Promise<Response> {
  const encoder = new TextEncoder();
  // The first look comes before the answer: what is refused is no stream.
  let pending: ReleaseLogReply | undefined = await look(followed, after, 1);
  let seen = after;
  let open = true;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const reply = pending ?? (await nextReply(followed, seen, SSE_KEEPALIVE_MS));
        pending = undefined;
        if (!open) return;
        if (reply === undefined) {
          // The reader comes back by itself, with Last-Event-ID, and hears why.
          open = false;
          controller.close();
          return;
        }
        seen = reply.lines.at(-1)?.n ?? seen;
        const text = reply.lines.map(eventOf).join("");
        const end = reply.ended ? `event: end\ndata: ${stringifyExactJson({ state: reply.state })}\n\n` : "";
        controller.enqueue(encoder.encode(text + end === "" ? ": still here\n\n" : text + end));
        if (reply.ended) {
          open = false;
          controller.close();
        }
      },
      cancel() {
        open = false;
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      // no-transform: a proxy that compresses would hold events back.
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    },
  });
}

/** Resolves when nobody waits for the release any more, or after `waitS` seconds, or when nobody can tell. */
export async function untilPlaced(env: Env, found: EndpointSummary, release: number, waitS: number): Promise<void> {
  const deadline = Date.now() + waitS * 1_000;
  let seen = 0;
  for (;;) {
    const leftMs = deadline - Date.now();
    if (leftMs <= 0) return;
    const reply = await nextReply({ env, found, release }, seen, leftMs);
    if (reply === undefined || reply.ended) return;
    seen = reply.lines.at(-1)?.n ?? seen;
  }
}

function eventOf(line: ReleaseLogLine): string {
  return `id: ${line.n}\nevent: line\ndata: ${stringifyExactJson(line)}\n\n`;
}

async function nextReply(followed: Followed, after: number, waitMs: number): Promise<ReleaseLogReply | undefined> {
  try {
    return await look(followed, after, waitMs);
  } catch (error) {
    if (isUnavailable(error) || error instanceof Problem) return undefined;
    throw error;
  }
}

function look({ env, found, release }: Followed, after: number, waitMs: number): Promise<ReleaseLogReply> {
  const { workspaceId } = found.endpoint;
  return askTold(env, found, "repeatable", (object) => object.watchReleaseLog(workspaceId, release, after, waitMs));
}
