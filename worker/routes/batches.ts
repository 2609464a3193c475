/** Batches: many jobs in one request, their counts, their results. */
import { cancelBatch, createBatch, getBatch, getBatchResults } from "#contract/api/batches";
import type { BatchSnapshot, Idempotency } from "#durable-objects/endpoint/rpc";
import type { EndpointSummary } from "#worker/catalog/endpoints";
import { jsonAnswer } from "#worker/http/answer";
import type { Call } from "#worker/http/call";
import { isProblem } from "#worker/http/is-problem";
import { handle } from "#worker/http/router";
import { resolveBatch } from "#worker/inputs/resolve-batch";
import { batchResultsAnswer } from "#worker/jobs/batch-results";
import { batchView } from "#worker/jobs/batch-view";
import { enqueueBatch } from "#worker/jobs/enqueue";
import { expandBatch } from "#worker/jobs/expand-batch";
import { fetchingAlone } from "#worker/jobs/fetching-alone";
import { idempotencyOf, replayedHeader } from "#worker/jobs/idempotency-key";
import { submitFields } from "#worker/jobs/submit-fields";
import { askEndpoint } from "#worker/placement/objects";
import { ownBatchKey, ownEndpointCached } from "#worker/placement/own-endpoint";

const submit = handle(createBatch, async (call) => {
  const { principal, params, headers, url } = call;
  const idempotency = await idempotencyOf(headers["idempotency-key"], call.raw.bytes);
  const found = await ownEndpointCached(call.env, principal.workspaceId, params.endpoint);
  const { batch, replayed } = await accept(call, found, idempotency);
  return jsonAnswer(202, batchView(batch, url.origin), {
    location: `${url.origin}/v1/batches/${batch.id}`,
    ...replayedHeader(replayed),
  });
});

/** Queues the jobs, or finds the batch that the same request got before, though it might be refused now. */
async function accept(
  call: Call<typeof createBatch>,
  found: EndpointSummary,
  idempotency: Idempotency | undefined,
): Promise<{ batch: BatchSnapshot; replayed: boolean }> {
  const { workspaceId } = call.principal;
  let fields: ReturnType<typeof submitFields>;
  let items: Awaited<ReturnType<typeof resolveBatch>>;
  try {
    fields = submitFields(call, found);
    const alone = fetchingAlone(call, createBatch.id, found, idempotency);
    items = await resolveBatch(call, workspaceId, found.release.inputs, expandBatch(call.raw.document), alone);
  } catch (error) {
    const before = idempotency === undefined ? null : await replayOf(call, found, idempotency);
    if (before === null) throw error;
    return { batch: before, replayed: true };
  }
  return enqueueBatch(call.env, found, {
    ...fields,
    items,
    ...(idempotency === undefined ? {} : { idempotency }),
  });
}

/** The batch that the same request got before; null when there is none, or an object too new to know any. */
async function replayOf(
  call: Call<typeof createBatch>,
  { endpoint }: EndpointSummary,
  idempotency: Idempotency,
): Promise<BatchSnapshot | null> {
  try {
    const { batch } = await askEndpoint(call.env, endpoint.key, "repeatable", (object) =>
      object.findBatchReplay(call.principal.workspaceId, idempotency),
    );
    return batch;
  } catch (error) {
    if (isProblem(error, "endpoint_not_found")) return null;
    throw error;
  }
}

const get = handle(getBatch, async ({ env, principal, params, url }) => {
  const { workspaceId } = principal;
  const key = await ownBatchKey(env, workspaceId, params.batch);
  const { batch } = await askEndpoint(env, key, "repeatable", (object) => object.getBatch(workspaceId, params.batch));
  return batchView(batch, url.origin);
});

const cancel = handle(cancelBatch, async ({ env, principal, params, url }) => {
  const { workspaceId } = principal;
  const key = await ownBatchKey(env, workspaceId, params.batch);
  const { batch } = await askEndpoint(env, key, "repeatable", (object) =>
    object.cancelBatch(workspaceId, params.batch),
  );
  return batchView(batch, url.origin);
});

const results = handle(getBatchResults, async ({ env, principal, params, url }) => {
  const { workspaceId } = principal;
  const key = await ownBatchKey(env, workspaceId, params.batch);
  return batchResultsAnswer({ env, key, workspaceId, batchId: params.batch, origin: url.origin });
});

export const batchRoutes = [submit, get, cancel, results];
