import { JsonText } from "#contract/exact-json";
import type {
  BatchSnapshot,
  EnqueueBatchRequest,
  Enqueued,
  EnqueueRequest,
  Reply,
} from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { askTold } from "#worker/placement/told-endpoint";

/**
 * Puts a job into its endpoint's queue.
 * @throws Problem queue_full, storage_full, queue_paused, budget_exceeded, idempotency_key_reused, endpoint_not_found …
 */
export function enqueue(env: Env, found: EndpointSummary, request: Omit<EnqueueRequest, "release">): Promise<Enqueued> {
  const repeatable = request.idempotency === undefined ? "once" : "repeatable";
  return askTold(env, found, repeatable, (object) => object.enqueue({ ...request, release: found.release.number }));
}

/** A job that was just stored, as callers see it. */
export interface Stored {
  readonly id: string;
  readonly text: JsonText;
}

/**
 * As {@link enqueue}, for a caller who only wants to hear that the job is stored.
 * @param origin goes before the addresses in the answer
 * @throws Problem as {@link enqueue}
 */
export async function submit(
  env: Env,
  found: EndpointSummary,
  request: Omit<EnqueueRequest, "release">,
  origin: string,
): Promise<Stored | Enqueued> {
  const repeatable = request.idempotency === undefined ? "once" : "repeatable";
  const text = JSON.stringify({ ...request, release: found.release.number });
  return askTold<Stored | Enqueued>(env, found, repeatable, async (object) => {
    const answer = await object.submit(text, origin);
    if (!answer.startsWith(ID_FIRST)) return JSON.parse(answer) as Reply<Enqueued>;
    const id = answer.slice(ID_FIRST.length, answer.indexOf('"', ID_FIRST.length));
    return { ok: true, id, text: new JsonText(answer) };
  });
}

/** How a job begins as JSON. */
const ID_FIRST = '{"id":"';

/** Puts all jobs of a batch into their endpoint's queue, or none. @throws Problem as {@link enqueue} */
export function enqueueBatch(
  env: Env,
  found: EndpointSummary,
  request: Omit<EnqueueBatchRequest, "release">,
): Promise<{ batch: BatchSnapshot; replayed: boolean }> {
  const repeatable = request.idempotency === undefined ? "once" : "repeatable";
  return askTold(env, found, repeatable, (object) =>
    object.enqueueBatch({ ...request, release: found.release.number }),
  );
}
