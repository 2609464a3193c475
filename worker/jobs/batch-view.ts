import type { Batch } from "#contract/batch";
import type { BatchSnapshot } from "#durable-objects/endpoint/rpc";
import { iso, isoOrNull } from "#durable-objects/endpoint/shown-job";

/** The batch as callers see it: addresses absolute by the origin they used. */
export function batchView(batch: BatchSnapshot, origin: string): Batch {
  const self = `${origin}/v1/batches/${batch.id}`;
  const { queued, running, succeeded, failed, canceled, expired } = batch.counts;
  return {
    id: batch.id,
    endpoint_id: batch.endpointId,
    endpoint: batch.slug,
    state: batch.finishedAt === null ? "running" : "done",
    total: batch.total,
    counts: { queued, running, succeeded, failed, canceled, expired },
    // Jobs whose records are past their retention had ended.
    progress: (batch.total - queued - running) / batch.total,
    created_at: iso(batch.createdAt),
    finished_at: isoOrNull(batch.finishedAt),
    urls: {
      self,
      results: `${self}/results`,
      cancel: `${self}/cancel`,
      jobs: `${origin}/v1/jobs?batch=${batch.id}`,
    },
  };
}
