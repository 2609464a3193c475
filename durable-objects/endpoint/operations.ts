/**
 * Bulk operations: cancel, retry, redrive, purge. Each turn does a slice, and the place reached is written with what the
 * slice did, so that a restart goes on exactly there.
 */
import { type JobId, makeId, OperationId, ownerKey } from "#contract/ids";
import { type JobState, TERMINAL_STATES } from "#contract/job";
import { OPERATION_RETENTION_DAYS, OPERATIONS_RUNNING_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import type { Operation, OperationKind } from "#contract/queue";
import { cancelLiving } from "#durable-objects/endpoint/cancel";
import type { EndpointState } from "#durable-objects/endpoint/endpoint-state";
import { firstIdAt, madeAt } from "#durable-objects/endpoint/job-ids";
import type { JobCriteria } from "#durable-objects/endpoint/job-queries";
import { dispatch } from "#durable-objects/endpoint/matcher";
import { rememberKey, runAgain, type ScopedKey } from "#durable-objects/endpoint/new-jobs";
import type { OperationRecord } from "#durable-objects/endpoint/operation-store";
import { isRetrying } from "#durable-objects/endpoint/queue-stats";
import type { OperationRequest, Reply } from "#durable-objects/endpoint/rpc";
import { checkIdempotency } from "#durable-objects/queue/idempotency";
import { isDead, isEnded, type JobRecord } from "#durable-objects/queue/job-record";

/** Jobs one turn changes, and rows it looks at to find them: more would keep leases waiting. */
const SLICE_JOBS = 200;
const SLICE_ROWS = 2_000;
/** New jobs that an operation names. */
const CREATED_JOBS_NAMED = 100;
const RETENTION_MS = OPERATION_RETENTION_DAYS * 86_400_000;
/** Ended operations forgotten in one turn. */
const FORGOTTEN_PER_TURN = 100;

const LIVING: readonly JobState[] = ["queued", "running"];
/** The call with which each kind is asked for: the scope of its keys. */
const SCOPES: Readonly<Record<OperationKind, string>> = {
  cancel: "createOperation",
  retry: "createOperation",
  redrive: "redriveDead",
  purge: "purgeQueue",
};

/** Starts an operation and does its first slice at once. */
export function startOperation(
  state: EndpointState,
  request: OperationRequest,
  now: number,
): Reply<{ operation: Operation; replayed: boolean }> {
  const { config } = state;
  if (config === null || config.removed) return refusal("endpoint_not_found", "There is no such endpoint.");
  const key: ScopedKey | null =
    request.idempotency === undefined ? null : { scope: SCOPES[request.kind], ...request.idempotency };
  if (key !== null) {
    const answer = checkIdempotency(state.idempotency.find(key.scope, key.key, now), key.fingerprint, now);
    if (answer.type === "reused") {
      return refusal("idempotency_key_reused", "This Idempotency-Key came with another body before. Use a new key.");
    }
    if (answer.type === "replay") {
      const known = state.operations.get(answer.result as OperationId);
      return known === null ? noOperation() : { ok: true, operation: shown(state, known), replayed: true };
    }
  }
  if (state.operations.running().length >= OPERATIONS_RUNNING_MAX) {
    const detail = `${OPERATIONS_RUNNING_MAX} operations run on this endpoint already. Wait for one of them, or cancel it.`;
    return refusal("operation_limit", detail);
  }
  const randomBytes = (length: number) => state.world.randomBytes(length);
  const id = makeId(OperationId, "op", now, randomBytes, ownerKey(config.endpointId));
  const fence = state.nextJobId(now);
  const criteria = criteriaOf(request);
  const operation = step(
    state,
    {
      id,
      kind: request.kind,
      state: "running",
      keyId: request.keyId,
      criteria,
      jobs: request.jobs ?? null,
      firstJob: firstJobOf(state, criteria, fence),
      fence,
      cursor: null,
      lookedAt: 0,
      changed: 0,
      skipped: 0,
      createdJobs: [],
      createdAt: now,
      finishedAt: null,
    },
    now,
  );
  rememberKey(state, key, id, now);
  return { ok: true, operation: shown(state, operation), replayed: false };
}

export function getOperation(state: EndpointState, id: OperationId): Reply<{ operation: Operation }> {
  const known = state.operations.get(id);
  return known === null ? noOperation() : { ok: true, operation: shown(state, known) };
}

/** Newest first. */
export function listOperations(
  state: EndpointState,
  page: { readonly before?: OperationId; readonly limit: number },
): Reply<{ operations: Operation[]; next: OperationId | null }> {
  const found = state.operations.list(page.before ?? null, page.limit + 1);
  const operations = found.slice(0, page.limit).map((operation) => shown(state, operation));
  const next = found.length > page.limit ? (operations.at(-1)?.id ?? null) : null;
  return { ok: true, operations, next };
}

/** What it has done stays done. */
export function cancelOperation(state: EndpointState, id: OperationId, now: number): Reply<{ operation: Operation }> {
  const known = state.operations.get(id);
  if (known === null) return noOperation();
  if (known.state !== "running") return { ok: true, operation: shown(state, known) };
  const canceled: OperationRecord = { ...known, state: "canceled", finishedAt: now };
  state.operations.put(canceled);
  state.due(now + RETENTION_MS);
  return { ok: true, operation: shown(state, canceled) };
}

/** From the alarm: one slice of the operation that has looked at the fewest rows, and the end of old records. */
export function runOperations(state: EndpointState, now: number): void {
  const running = state.operations.running();
  if (state.config?.removed) {
    for (const operation of running) state.operations.put({ ...operation, state: "canceled", finishedAt: now });
  } else {
    const [next] = running.toSorted((a, b) => a.lookedAt - b.lookedAt);
    if (next !== undefined) step(state, next, now);
  }
  state.operations.deleteFinished(now - RETENTION_MS, FORGOTTEN_PER_TURN);
}

/** When `runOperations` has something to do. */
export function operationsDue(state: EndpointState, now: number): number | null {
  if (state.operations.isAnyRunning()) return now + 1;
  const first = state.operations.firstFinishedAt();
  return first === null ? null : first + RETENTION_MS;
}

/** Does one slice and writes how far it came. */
function step(state: EndpointState, operation: OperationRecord, now: number): OperationRecord {
  const slice = operation.jobs === null ? sliceOf(state, operation) : listed(operation.jobs, operation.cursor);
  let { changed, skipped } = operation;
  const created = [...operation.createdJobs];
  for (const id of slice.ids) {
    const result = apply(state, operation, id, now);
    if (result === null) skipped += 1;
    else {
      changed += 1;
      if (typeof result === "string" && created.length < CREATED_JOBS_NAMED) created.push(result);
    }
  }
  const isDone = slice.cursor === null;
  const after: OperationRecord = {
    ...operation,
    state: isDone ? "done" : "running",
    cursor: slice.cursor ?? operation.cursor,
    lookedAt: operation.lookedAt + slice.lookedAt,
    changed,
    skipped,
    createdJobs: created,
    finishedAt: isDone ? now : null,
  };
  state.operations.put(after);
  state.due(isDone ? now + RETENTION_MS : now + 1);
  dispatch(state, now);
  return after;
}

interface Slice {
  readonly ids: readonly JobId[];
  /** Where the next slice goes on; null when there is none. */
  readonly cursor: JobId | number | null;
  readonly lookedAt: number;
}

function sliceOf(state: EndpointState, { criteria, cursor, firstJob, fence }: OperationRecord): Slice {
  const after = typeof cursor === "string" ? cursor : null;
  const below = criteria.below !== undefined && criteria.below < fence ? criteria.below : fence;
  const bounded = { ...criteria, from: firstJob, below };
  const { ids, next, rows } = state.queries.look(bounded, "oldest first", after, SLICE_JOBS, SLICE_ROWS);
  return { ids, cursor: next, lookedAt: rows ?? state.queries.passed(bounded, after, next ?? fence) };
}

function listed(jobs: readonly JobId[], cursor: OperationRecord["cursor"]): Slice {
  const from = typeof cursor === "number" ? cursor : 0;
  const ids = jobs.slice(from, from + SLICE_JOBS);
  const upTo = from + ids.length;
  return { ids, cursor: upTo < jobs.length ? upTo : null, lookedAt: ids.length };
}

/** @returns the new job of a retry, true for another change, null when the job has moved on or was not taken */
function apply(state: EndpointState, operation: OperationRecord, id: JobId, now: number): JobId | true | null {
  const { kind, keyId, criteria, fence } = operation;
  const found = state.jobs.find(id);
  if (found === null || id >= fence) return null;
  const { job, payload } = found;
  switch (kind) {
    case "cancel":
      if (isEnded(job)) return null;
      cancelLiving(state, id, now);
      return true;
    case "purge":
      if (criteria.dead) return dismiss(state, job);
      if (job.state !== "queued" || (criteria.retrying && !isRetrying(job))) return null;
      cancelLiving(state, id, now);
      return true;
    case "retry":
    case "redrive": {
      if (!isEnded(job) || (kind === "redrive" && !isDead(job))) return null;
      const again = runAgain(state, { job, payload }, keyId, now);
      return typeof again === "string" ? again : null;
    }
    default:
      throw new Error(`unhandled: ${JSON.stringify(kind satisfies never)}`);
  }
}

function dismiss(state: EndpointState, job: JobRecord): true | null {
  if (!isEnded(job) || job.state === "succeeded" || !isDead(job)) return null;
  state.marked(job, { ...job, dead: false });
  return true;
}

/** The jobs an operation is about, whatever was asked for cut to those it can change. */
function criteriaOf({ kind, selection, since }: OperationRequest): JobCriteria {
  const { state, lane, tag, key_id, batch_id, error_code, created_after, created_before } = selection;
  const given: JobCriteria = {
    ...(lane === undefined ? {} : { lane }),
    ...(tag === undefined ? {} : { tag }),
    ...(key_id === undefined ? {} : { keyId: key_id }),
    ...(batch_id === undefined ? {} : { batchId: batch_id }),
    ...(error_code === undefined ? {} : { errorCode: error_code }),
    ...(created_after === undefined ? {} : { from: firstIdAt(Date.parse(created_after)) }),
    ...(created_before === undefined ? {} : { below: firstIdAt(Date.parse(created_before)) }),
    ...(since === undefined ? {} : { endedSince: Date.parse(since) }),
  };
  const among = (all: readonly JobState[]): readonly JobState[] =>
    all.filter((each) => state === undefined || each === state);
  if (kind === "redrive" || state === "dead") return { ...given, dead: true };
  if (state === "retrying") return { ...given, retrying: true };
  if (kind === "cancel") return { ...given, states: among(LIVING) };
  if (kind === "purge") return { ...given, states: ["queued"] };
  return { ...given, states: among(TERMINAL_STATES) };
}

/** Nothing that an operation on living jobs is about is older than the oldest of them. */
function firstJobOf(state: EndpointState, criteria: JobCriteria, fence: JobId): JobId {
  if (criteria.from !== undefined) return criteria.from;
  const { states } = criteria;
  if (states === undefined || states.some((each) => !LIVING.includes(each))) {
    return state.queries.oldestJob() ?? fence;
  }
  const queuedAt = state.waiting.oldestCreatedAt();
  const oldest = [queuedAt === null ? null : firstIdAt(queuedAt), state.queries.oldestRunning()];
  return oldest.filter((id) => id !== null).reduce((a, b) => (a < b ? a : b), fence);
}

function shown(state: EndpointState, operation: OperationRecord): Operation {
  if (state.config === null) throw new Error("the endpoint is not configured");
  const { id, kind, lookedAt, changed, skipped, createdJobs, createdAt, finishedAt } = operation;
  return {
    id,
    endpoint_id: state.config.endpointId,
    kind,
    state: operation.state,
    looked_at: lookedAt,
    changed,
    skipped,
    progress: progressOf(operation),
    created_jobs: [...createdJobs],
    created_at: new Date(createdAt).toISOString(),
    finished_at: finishedAt === null ? null : new Date(finishedAt).toISOString(),
  };
}

/** Of a list, how much of it; else how much of the time in which the jobs were made. */
function progressOf({ state, jobs, cursor, firstJob, fence }: OperationRecord): number {
  if (state === "done") return 1;
  if (cursor === null) return 0;
  if (typeof cursor === "number") return cursor / (jobs?.length ?? cursor);
  const from = madeAt(firstJob);
  const whole = madeAt(fence) - from;
  return whole <= 0 ? 0 : Math.min(1, Math.max(0, (madeAt(cursor) - from) / whole));
}

export const noOperation = (): Refusal => refusal("operation_not_found", "There is no such operation.");
