/** A batch's results as lines of JSON, pulled from its object for as long as the reader wants more. */
import { stringifyExactJson } from "#contract/exact-json";
import type { BatchId, JobId, OwnerKey, WorkspaceId } from "#contract/ids";
import type { JobSnapshot } from "#durable-objects/endpoint/rpc";
import type { Env } from "#worker/env";
import { outputsView } from "#worker/jobs/job-view";
import { askEndpoint } from "#worker/placement/objects";

/** Jobs of one look into the object: enough to be quick, far below a message's 32 MiB. */
const LOOK_BYTES_MAX = 1024 * 1024;

export interface ReadBatch {
  readonly env: Env;
  readonly key: OwnerKey;
  readonly workspaceId: WorkspaceId;
  readonly batchId: BatchId;
  readonly origin: string;
}

/** Answers with the lines. The first look happens before the answer, so that an unknown batch is a 404. */
export async function batchResultsAnswer(batch: ReadBatch): Promise<Response> {
  const first = await look(batch, null);
  return new Response(resultLines(batch, first), {
    headers: { "content-type": "application/x-ndjson", "cache-control": "no-store" },
  });
}

/** Pull-driven: a slow reader makes the loop wait, a gone one ends it; an object that fails breaks the answer off. */
function resultLines(batch: ReadBatch, first: Look): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let pending: Look | undefined = first;
  let after: JobId | null = null;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { jobs, places, more }: Look = pending ?? (await look(batch, after));
        pending = undefined;
        const lines = await Promise.all(jobs.map((job, index) => resultLine(batch, job, places[index] ?? index)));
        const last = jobs.at(-1);
        if (lines.length > 0) controller.enqueue(encoder.encode(lines.join("")));
        // A look without jobs is the end, whatever it says: the next one would be the same.
        if (more && last !== undefined) after = last.id;
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
}

interface Look {
  readonly jobs: readonly JobSnapshot[];
  /** Of each, in the request. */
  readonly places: readonly number[];
  readonly more: boolean;
}

function look({ env, key, workspaceId, batchId }: ReadBatch, after: JobId | null): Promise<Look> {
  return askEndpoint(env, key, "repeatable", (endpoint) =>
    endpoint.batchJobs(workspaceId, batchId, after, LOOK_BYTES_MAX),
  );
}

async function resultLine({ env, workspaceId, origin }: ReadBatch, job: JobSnapshot, index: number): Promise<string> {
  const { id, state, error } = job;
  const head = stringifyExactJson({ index, job_id: id, state });
  const tail = stringifyExactJson({ outputs: await outputsView(job, env, workspaceId, origin), error });
  // Stored inputs are JSON text in one line: reading them only to write them again would be most of the work.
  return `${head.slice(0, -1)},"inputs":${job.inputs},${tail.slice(1)}\n`;
}
