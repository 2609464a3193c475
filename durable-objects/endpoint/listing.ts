/** Jobs page by page: by what they are, as dead letters, and in the order in which they will start. */
import type { JobId } from "#contract/ids";
import type { Lane } from "#contract/job";
import { refusal } from "#contract/problems";
import type { QueueEntry } from "#contract/queue";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { firstIdAt } from "#durable-objects/endpoint/job-ids";
import type { JobCriteria } from "#durable-objects/endpoint/job-queries";
import { LANES } from "#durable-objects/endpoint/job-rows";
import { positionOf, snapshotOf } from "#durable-objects/endpoint/job-snapshots";
import type { JobFilter, JobSnapshot, QueuePlace, Reply } from "#durable-objects/endpoint/rpc";
import { etaOf } from "#durable-objects/endpoint/why";
import { phaseOf, type QueuedJob } from "#durable-objects/queue/job-record";

/** Rows one call looks at for a filter that hardly anything fits: enough for a page of most, short enough for a turn. */
const ROWS_LOOKED_AT = 5_000;

type Page = Reply<{ jobs: JobSnapshot[]; next: JobId | null }>;

/** Newest first; `next` is where to go on, null at the end. */
export function listJobs(state: EndpointState, filter: JobFilter, now: number): Page {
  const { state: jobState, lane, tag, keyId, batchId, errorCode, createdFrom, createdTo } = filter;
  const criteria: JobCriteria = {
    ...(jobState === undefined ? {} : { states: [jobState] }),
    ...(lane === undefined ? {} : { lane }),
    ...(tag === undefined ? {} : { tag }),
    ...(keyId === undefined ? {} : { keyId }),
    ...(batchId === undefined ? {} : { batchId }),
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(createdFrom === undefined ? {} : { from: firstIdAt(createdFrom) }),
    ...(createdTo === undefined ? {} : { below: firstIdAt(createdTo) }),
  };
  return newestFirst(state, criteria, filter, now);
}

/** Failed jobs that nobody has redriven or dismissed. */
export function listDead(
  state: EndpointState,
  page: { readonly before?: JobId; readonly limit: number; readonly bytesMax: number },
  now: number,
): Page {
  return newestFirst(state, { dead: true }, page, now);
}

function newestFirst(
  state: EndpointState,
  criteria: JobCriteria,
  { before, limit, bytesMax }: { readonly before?: JobId; readonly limit: number; readonly bytesMax: number },
  now: number,
): Page {
  const look = state.queries.look(criteria, "newest first", before ?? null, limit + 1, ROWS_LOOKED_AT);
  const jobs: JobSnapshot[] = [];
  let bytes = 0;
  for (const id of look.ids) {
    const found = state.jobs.find(id);
    if (found === null) continue;
    const shown = snapshotOf(state, found.job, found.payload, now);
    bytes += JSON.stringify(shown).length;
    const last = jobs.at(-1);
    if (last !== undefined && (jobs.length === limit || bytes > bytesMax)) return { ok: true, jobs, next: last.id };
    jobs.push(shown);
  }
  return { ok: true, jobs, next: look.next };
}

/** Waiting jobs in the order in which they will start, ready or not. */
export function listQueue(
  state: EndpointState,
  page: { readonly lane?: Lane; readonly after?: QueuePlace; readonly limit: number },
  now: number,
): Reply<{ entries: QueueEntry[]; next: QueuePlace | null }> {
  if (page.limit < 1) return refusal("invalid_query", "A page has at least one entry.");
  const lanes = page.lane === undefined ? LANES : [page.lane];
  const found: QueuedJob[] = [];
  for (const lane of lanes) {
    const { after } = page;
    if (after !== undefined && LANES.indexOf(lane) < LANES.indexOf(after.lane)) continue;
    found.push(...state.queries.inOrder(lane, after?.lane === lane ? after : null, page.limit + 1 - found.length));
    if (found.length > page.limit) break;
  }
  const shown = found.slice(0, page.limit);
  const [first] = shown;
  const firstPosition = first === undefined ? null : positionOf(state, first);
  const entries = shown.map((job, index) => entryOf(state, job, (firstPosition ?? 1) + index, now));
  const last = shown.at(-1);
  const next =
    found.length > page.limit && last !== undefined ? { lane: last.lane, rank: last.rank, id: last.id } : null;
  return { ok: true, entries, next };
}

function entryOf(state: EndpointState, job: QueuedJob, position: number, now: number): QueueEntry {
  const payload = state.jobs.payload(job.id);
  if (payload === null) throw new Error(`no payload for ${job.id}`);
  return {
    job_id: job.id,
    position,
    eta_ms: etaOf(state, position, job, now),
    phase: phaseOf(job) ?? "waiting",
    lane: job.lane,
    priority: job.priority,
    attempt: job.attempt,
    tags: [...payload.tags],
    key_id: payload.keyId,
    batch_id: job.batchId,
    created_at: new Date(job.createdAt).toISOString(),
    waited_ms: Math.max(0, now - job.createdAt),
    expires_at: job.startedAt === null ? new Date(job.expiresAt).toISOString() : null,
    available_at: job.availableAt === null ? null : new Date(job.availableAt).toISOString(),
  };
}
