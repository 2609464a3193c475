/** A job's events as server-sent events, pulled from its object for as long as the reader wants more. */

import { stringifyExactJson } from "#contract/exact-json";
import type { JobId, OwnerKey, WorkspaceId } from "#contract/ids";
import { isTerminal, type JobState } from "#contract/job";
import { SSE_KEEPALIVE_MS } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { StoredEvent, WatchReply } from "#durable-objects/endpoint/rpc";
import { iso } from "#durable-objects/endpoint/shown-job";
import type { Env } from "#worker/env";
import { isUnavailable } from "#worker/http/error-handler";
import { jobView } from "#worker/jobs/job-view";
import { askEndpoint } from "#worker/placement/objects";

export interface WatchedJob {
  readonly env: Env;
  readonly key: OwnerKey;
  readonly workspaceId: WorkspaceId;
  readonly jobId: JobId;
  readonly origin: string;
}

/**
 * Answers with the stream. The first look at the job happens before the answer, so that an unknown job is a 404 and
 * not a stream; after the end there is nothing to stream, and 204 tells an EventSource to stop asking.
 * @param afterSeq number of the last event the reader has; 0 for all
 * @throws Problem too_many_watchers; malformed_request when the job has no such event: its reader would miss all up to there
 */
export async function resumedEventStream(job: WatchedJob, afterSeq: number): Promise<Response> {
  const first = await watch(job, { seq: afterSeq, version: 0 }, 0);
  if (afterSeq > first.lastSeq) {
    const detail = `Last-Event-ID must be the id of an event of this job; its newest one is ${first.lastSeq}.`;
    throw new Problem("malformed_request", detail);
  }
  if (!first.ended) {
    // Only a look that waits, if for a moment, is counted. A stream that is refused after it was answered would end as if
    // cut off, and its reader would come back at once, for ever.
    await watch(job, { seq: first.events.at(-1)?.seq ?? afterSeq, version: first.version }, 1);
  }
  return streamAnswer(job, afterSeq, first, {});
}

/** Answers a submit with the new job's stream; the job is made, so nothing is refused any more. */
export async function newEventStream(job: WatchedJob, headers: Record<string, string>): Promise<Response> {
  return streamAnswer(job, 0, await watch(job, { seq: 0, version: 0 }, 0), headers);
}

function streamAnswer(job: WatchedJob, afterSeq: number, first: WatchReply, headers: Record<string, string>): Response {
  if (first.ended && first.events.length === 0) {
    return new Response(null, { status: 204, headers: { "cache-control": "no-store", ...headers } });
  }
  return new Response(eventStream(job, afterSeq, first), {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      // no-transform: a proxy that compresses would hold events back.
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
      ...headers,
    },
  });
}

/** Pull-driven: a slow reader makes the loop wait, a gone one ends it. */
function eventStream(job: WatchedJob, afterSeq: number, first: WatchReply): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const after = { seq: afterSeq, version: 0 };
  let pending: WatchReply | undefined = first;
  let shown: { progress: string; preview: string } = { progress: "", preview: "" };
  let open = true;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const reply: WatchReply | undefined = pending ?? (await nextReply(job, after));
        pending = undefined;
        if (!open) return;
        if (reply === undefined) {
          // The object restarts or refuses: the reader comes back by itself, with Last-Event-ID, and hears why.
          open = false;
          controller.close();
          return;
        }
        let text = "";
        for (const event of reply.events) {
          text += await numberedEvent(job, event);
          after.seq = Math.max(after.seq, event.seq);
        }
        after.version = reply.version;
        if (!reply.ended) {
          const live = liveEvents(reply);
          if (live.progress !== "" && live.progress !== shown.progress) text += live.progress;
          if (live.preview !== "" && live.preview !== shown.preview) text += live.preview;
          shown = live;
        }
        if (!open) return;
        controller.enqueue(encoder.encode(text === "" ? ": still here\n\n" : text));
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
}

async function nextReply(job: WatchedJob, after: { seq: number; version: number }): Promise<WatchReply | undefined> {
  try {
    return await watch(job, { ...after }, SSE_KEEPALIVE_MS);
  } catch (error) {
    if (isUnavailable(error) || error instanceof Problem) return undefined;
    throw error;
  }
}

function watch(job: WatchedJob, after: { seq: number; version: number }, waitMs: number): Promise<WatchReply> {
  return askEndpoint(job.env, job.key, "repeatable", (endpoint) =>
    endpoint.watchJob(job.workspaceId, job.jobId, after, waitMs),
  );
}

/** The last event holds the whole job, with its outputs' links; the others what was stored with them, and when. */
async function numberedEvent(job: WatchedJob, event: StoredEvent): Promise<string> {
  const data = isTerminal(event.type as JobState) ? await wholeJob(job) : withTime(event);
  return `id: ${event.seq}\nevent: ${event.type}\ndata: ${data}\n\n`;
}

async function wholeJob(job: WatchedJob): Promise<string> {
  const { job: snapshot } = await askEndpoint(job.env, job.key, "repeatable", (endpoint) =>
    endpoint.getJob(job.workspaceId, job.jobId),
  );
  return stringifyExactJson(await jobView(snapshot, job.env, job.workspaceId, job.origin));
}

/** Stored data is a JSON object in one line; the time goes in front of its fields. */
function withTime(event: StoredEvent): string {
  const at = `"at":${JSON.stringify(iso(event.at))}`;
  return event.data === "{}" ? `{${at}}` : `{${at},${event.data.slice(1)}`;
}

function liveEvents(reply: WatchReply): { progress: string; preview: string } {
  const moment = { ...reply.progress, ...(reply.position === null ? {} : { position: reply.position }) };
  return {
    progress: Object.keys(moment).length === 0 ? "" : `event: progress\ndata: ${stringifyExactJson(moment)}\n\n`,
    preview: reply.preview === null ? "" : `event: preview\ndata: ${stringifyExactJson(reply.preview)}\n\n`,
  };
}
