import type { BatchSnapshot, EnqueueBatchRequest, EnqueueRequest, JobSnapshot } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import type { Env } from "#worker/env";
import { askTold } from "#worker/placement/told-endpoint";

/**
 * Puts a job into its endpoint's queue.
 * @throws Problem queue_full, queue_paused, budget_exceeded, idempotency_key_reused, endpoint_not_found …
 */
export function enqueue(
  env: Env,
  found: EndpointSummary,
  request: Omit<EnqueueRequest, "release">,
): Promise<{ job: JobSnapshot; replayed: boolean }> {
  const repeatable = request.idempotency === undefined ? "once" : "repeatable";
  return askTold(env, found, repeatable, (object) => object.enqueue({ ...request, release: found.release.number }));
}

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
