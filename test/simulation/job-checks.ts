/** What a single job may turn into. */
import { DETERMINISTIC_ERRORS, RunningPhase } from "#contract/job";
import {
  AGEING_MS_PER_LEVEL,
  LEASE_CONFIRM_MS,
  LEASE_MS,
  LEASE_RENEW_MS,
  RETRY_DELAY_MS,
  RETRY_DELAY_MS_MAX,
} from "#contract/limits";
import type { JobRecord, RunningJob } from "#durable-objects/queue/job-record";
import type { LeaseRecord } from "#durable-objects/queue/lease";
import { inWords, type Operation } from "./operation.ts";
import type { KnownJob, Oracle } from "./oracle.ts";
import { finalPart } from "./stored-jobs.ts";
import { promise } from "./violation.ts";

/** Leases that may come back free of charge, and the quiet after which a poll may give one up; as the decisions say. */
const FREE_HANDBACKS = 10;
/** Times that a job may have been held ahead in vain. */
const HELD_IN_VAIN = 1;
const QUIET_MS = LEASE_RENEW_MS + 2_000;
const PHASES = RunningPhase.options;
/** How a lease ends by each message of its holder. */
const OUTCOME_OF: Readonly<Record<string, string>> = { complete: "completed", fail: "failed", release: "released" };

export function checkNewJob(oracle: Oracle, record: JobRecord): void {
  const { operation, now } = oracle;
  promise("I1", !oracle.removed, () => "a deleted endpoint took a job");
  promise("I19", record.events[0]?.type === "queued", () => "the first event of a job is not that it was queued");
  checkRecord(oracle, record);
  if (operation.type !== "enqueue") {
    checkOtherBirth(oracle, record);
    return;
  }
  const { idempotency } = operation.request;
  if (idempotency !== undefined) {
    const known = oracle.keys.get(idempotency.key);
    const fresh = known === undefined || now - known.usedAt >= oracle.world.keyRetentionMs;
    promise("I2", fresh, () => `the key ${idempotency.key} made ${known?.jobId} and now ${record.id}`);
    oracle.keys.set(idempotency.key, { fingerprint: idempotency.fingerprint, jobId: record.id, usedAt: now });
  }
  promise(
    "I12",
    record.priority === operation.request.priority && record.lane === operation.request.lane,
    () => "a job is stored with another priority or lane than it came with",
  );
}

/** Jobs that come by the batch, and those that run an ended one again. */
function checkOtherBirth(oracle: Oracle, record: JobRecord): void {
  const { operation, world } = oracle;
  if (operation.type === "batch") {
    promise("I1", record.batchId !== null, () => `${record.id} came with a batch and does not belong to it`);
    world.coverage.path("a job comes with a batch");
    return;
  }
  const again =
    operation.type === "retry" ||
    (operation.type === "operate" && (operation.request.kind === "retry" || operation.request.kind === "redrive"));
  promise("I1", again, () => `${record.id} came into being by ${operation.type}`);
  const first = record.retryOf === null ? undefined : oracle.jobs.get(record.retryOf);
  promise(
    "I5",
    first !== undefined && first.final !== null,
    () => `${record.id} runs ${record.retryOf} again, which lives`,
  );
  promise(
    "I3",
    record.leases.length <= 1 && record.attempt <= 1,
    () => `${record.id} begins with an old job's attempts`,
  );
  world.coverage.path("an ended job runs again as a new one");
}

export function checkChange(oracle: Oracle, known: KnownJob, next: JobRecord): void {
  const before = known.record;
  if (known.final !== null) {
    promise("I5", finalPart(next) === known.final, () => `${next.id} changed after its end`);
    return;
  }
  checkPlace(oracle, before, next);
  checkRecord(oracle, next);
  checkStory(before, next);
  checkLeases(oracle, before, next);
  if (before.state === "running" && next.state === "running" && before.lease.id === next.lease.id) {
    checkRenewal(before, next);
  }
  if (before.state === "queued" && next.state === "expired") {
    promise("I10", before.startedAt === null, () => `${next.id} expired after it had started`);
    promise("I10", next.expiresAt <= oracle.now, () => `${next.id} expired too early`);
  }
  if (before.state === "queued" && next.state === "canceled") checkCancel(oracle, before);
  if (before.state === "queued" && next.state !== "queued" && next.state !== "running") {
    promise(
      "I15",
      next.state === "expired" || next.state === "canceled",
      () => `${next.id} went from queued to ${next.state}`,
    );
  }
}

/** What holds of a job in itself. */
function checkRecord(oracle: Oracle, record: JobRecord): void {
  const { id, events, leases, state } = record;
  const ended = state !== "queued" && state !== "running";
  events.forEach(({ seq, type }, index) => {
    promise("I19", seq === index + 1, () => `event ${seq} of ${id} stands at place ${index + 1}`);
    const isLast = index === events.length - 1;
    promise(
      "I19",
      (ended && isLast) === (type === state && ended),
      () => `${id} is ${state}; event ${seq} says ${type}`,
    );
    promise(
      "I19",
      isLast || !["succeeded", "failed", "canceled", "expired"].includes(type),
      () => `${id} has events after its end`,
    );
  });
  promise("I10", record.attempt <= record.attemptsMax, () => `${id} is at attempt ${record.attempt}`);
  promise(
    "I10",
    record.attemptsMax <= oracle.world.swarm.attemptsMax &&
      leases.length <= record.attemptsMax + FREE_HANDBACKS + HELD_IN_VAIN,
    () => `${id} has had ${leases.length} leases`,
  );
  promise(
    "I12",
    oracle.moved.has(id) || record.rank === record.createdAt - record.priority * AGEING_MS_PER_LEVEL,
    () => `the place of ${id} does not follow from its arrival and its priority`,
  );
  leases.forEach((lease, index) => {
    const open = state === "running" && index === leases.length - 1;
    promise(
      "I3",
      (lease.outcome === null) === open,
      () => `${id} is ${state}; its lease ${index + 1} is ${lease.outcome}`,
    );
  });
  if (state === "running") {
    promise("I3", record.lease.id === leases.at(-1)?.id, () => `${id} runs under a lease that is not its last one`);
  }
}

/** A batch job joins the interactive ones so long before its start deadline, or at half of its time. */
const JOINS_BEFORE_MS = 5 * 60_000;

function joins(oracle: Oracle, before: JobRecord, next: JobRecord): boolean {
  const { createdAt, expiresAt } = before;
  const at = Math.max(expiresAt - JOINS_BEFORE_MS, createdAt + Math.floor((expiresAt - createdAt) / 2));
  return (
    before.state === "queued" &&
    before.startedAt === null &&
    before.lane === "batch" &&
    next.lane === "interactive" &&
    next.rank === at - 60_000 * before.priority &&
    oracle.now >= at
  );
}

/** Only who asks for it, or its start deadline, gives a job another place, and only while it waits. */
function checkPlace(oracle: Oracle, before: JobRecord, next: JobRecord): void {
  if (before.rank === next.rank && before.lane === next.lane && before.priority === next.priority) return;
  const { operation } = oracle;
  if (operation.type === "wake" && joins(oracle, before, next)) {
    oracle.moved.add(next.id);
    oracle.world.coverage.path("a batch job joins the interactive ones");
    return;
  }
  // A replica that waits may begin it at once: see durable-objects/endpoint/patch-job.ts.
  const goesOn = next.state === "queued" || next.state === "running";
  promise(
    "I12",
    operation.type === "patch" && operation.jobId === next.id && before.state === "queued" && goesOn,
    () => `${next.id} was given another place by ${operation.type}`,
  );
  oracle.moved.add(next.id);
  oracle.world.coverage.path("a waiting job is given another place");
}

/** Events are only added. */
function checkStory(before: JobRecord, next: JobRecord): void {
  before.events.forEach((event, index) => {
    const kept = next.events[index];
    promise(
      "I19",
      kept !== undefined && kept.type === event.type && kept.at === event.at && kept.data === event.data,
      () => `event ${event.seq} of ${next.id} was rewritten`,
    );
  });
}

function checkLeases(oracle: Oracle, before: JobRecord, next: JobRecord): void {
  before.leases.forEach((lease, index) => {
    const after = next.leases[index];
    promise("I3", after !== undefined && after.token === lease.token, () => `a lease of ${next.id} is gone or changed`);
    if (lease.outcome !== null) {
      promise(
        "I9",
        JSON.stringify(after) === JSON.stringify(lease),
        () => `an ended lease of ${next.id} was rewritten`,
      );
    } else if (after.outcome !== null) checkEnd(oracle, before as RunningJob, after, next);
  });
}

/** A lease has ended: by whom, and may he? */
function checkEnd(oracle: Oracle, before: RunningJob, lease: LeaseRecord, next: JobRecord): void {
  const { operation, judgement, now, world } = oracle;
  const known = oracle.leases.get(lease.id);
  const spoke = operation.type === "message" && operation.proof.leaseId === lease.id && judgement.current;
  const isBegun = operation.type === "message" && operation.what !== "release" && operation.what !== "input";
  const heard = (known?.heardAt ?? null) !== null || (spoke && isBegun);
  // I9: what is billed is what an agent worked under, once, by the server's clock.
  promise("I9", lease.heard === heard, () => `the lease ${lease.id} ${heard ? "was" : "was never"} spoken under`);
  promise(
    "I9",
    lease.endedAt === now && lease.grantedAt === before.lease.grantedAt,
    () => `wrong times of ${lease.id}`,
  );
  world.coverage.path(`a lease ends: ${lease.outcome}`);
  switch (lease.outcome) {
    case "completed":
    case "failed":
    case "released":
      promise(
        "I4",
        spoke && operation.type === "message" && OUTCOME_OF[operation.what] === lease.outcome,
        () => `the lease ${lease.id} ${lease.outcome} without its holder's word`,
      );
      break;
    case "lost":
      checkLost(oracle, before, lease);
      break;
    case "timed_out":
      promise("I7", before.deadlineAt <= now, () => `the lease ${lease.id} was cut off before its deadline`);
      break;
    default:
      checkCancel(oracle, before);
  }
  checkOutcome(oracle, before, lease, next);
}

/** I7: a living lease is not taken away. Time alone ends it, the agent's own word after a silence, or its machine's end. */
function checkLost(oracle: Oracle, before: RunningJob, lease: LeaseRecord): void {
  const { operation, now } = oracle;
  const known = oracle.leases.get(lease.id);
  const offeredAt = known?.offeredAt ?? lease.grantedAt;
  const heardAt = known?.heardAt ?? null;
  const ranOut = heardAt === null ? now - offeredAt >= LEASE_CONFIRM_MS : now - heardAt >= LEASE_MS;
  const givenUp =
    operation.type === "poll" &&
    operation.replicaId === lease.replicaId &&
    !operation.poll.leases.some(({ lease_id }) => lease_id === lease.id) &&
    heardAt !== null &&
    now - heardAt >= QUIET_MS;
  const machineGone =
    ((operation.type === "gone" && !operation.silent) ||
      (operation.type === "report" && (operation.state === "stopped" || operation.state === "crashed"))) &&
    operation.replicaId === lease.replicaId;
  promise("I7", ranOut || givenUp || machineGone, () => {
    const quiet = heardAt === null ? `offered ${now - offeredAt}` : `heard of ${now - heardAt}`;
    return `the lease ${lease.id} was taken away; ${quiet} ms ago`;
  });
  const how = machineGone ? "its machine is gone" : givenUp ? "a poll gives it up" : "it runs out";
  oracle.world.coverage.path(`a lease is lost: ${how}${before.lease.confirmed ? "" : ", unconfirmed"}`);
}

function checkOutcome(oracle: Oracle, before: RunningJob, lease: LeaseRecord, next: JobRecord): void {
  const { world, now } = oracle;
  if (next.state === "succeeded") {
    promise("I4", lease.outcome === "completed", () => `${next.id} succeeded by a lease that ${lease.outcome}`);
    promise("I9", next.serviceMs >= 0, () => `${next.id} took ${next.serviceMs} ms`);
    for (const output of next.outputs) {
      promise(
        "I6",
        output.key.includes(`/${next.id}/${lease.token}/`),
        () => `an output of ${next.id} lies at ${output.key}`,
      );
      world.store.promise(output.key, { size: output.size, sha256: output.sha256 });
    }
    return;
  }
  promise("I4", lease.outcome !== "completed", () => `${next.id} was completed and is ${next.state}`);
  if (next.state === "failed") {
    const code = next.error?.code ?? "lease_lost";
    promise(
      "I10",
      DETERMINISTIC_ERRORS.includes(code) || before.attempt >= before.attemptsMax,
      () => `${next.id} failed for good at attempt ${before.attempt} of ${before.attemptsMax} with ${code}`,
    );
    world.coverage.path(
      before.attempt >= before.attemptsMax ? "the last attempt fails" : "an error that would come back",
    );
  }
  const known = oracle.leases.get(lease.id);
  if (next.state === "queued" && lease.outcome === "released" && known?.isAhead === true && known.heardAt === null) {
    // It was only held ahead: the job stands where it stood, and no node has failed it.
    promise(
      "I10",
      next.attempt === before.attempt - 1 && next.handbacks === before.handbacks && next.rank === before.rank,
      () => `${next.id} pays for having been held ahead`,
    );
    promise(
      "I10",
      next.availableAt === null && next.avoid === null,
      () => `${next.id} waits for having been held ahead`,
    );
    world.coverage.path("a job that was held ahead comes back");
    return;
  }
  if (next.state === "queued") {
    const failures = Math.max(1, before.attempt, next.handbacks);
    const bound = Math.min(RETRY_DELAY_MS_MAX, 2 * RETRY_DELAY_MS * 2 ** Math.min(failures - 1, 20));
    const delay = (next.availableAt ?? now) - now;
    promise(
      "I10",
      delay >= 0 && delay <= bound,
      () => `${next.id} is tried again after ${delay} ms, the bound is ${bound}`,
    );
    promise("I10", next.avoid?.nodeId === lease.nodeId, () => `${next.id} does not avoid the node that lost it`);
    promise("I10", next.handbacks >= before.handbacks, () => `handbacks of ${next.id} are forgotten`);
    promise(
      "I10",
      next.attempt === before.attempt ||
        (next.attempt === before.attempt - 1 && next.handbacks === before.handbacks + 1),
      () => `the attempts of ${next.id} went from ${before.attempt} to ${next.attempt}`,
    );
    world.coverage.path(next.availableAt === null ? "back to the queue at once" : "back to the queue after a backoff");
  }
}

function checkCancel(oracle: Oracle, before: JobRecord): void {
  const { operation } = oracle;
  promise("I8", oracle.removed || mayCancel(operation, before), () => {
    return `${before.id} was canceled while ${before.state} and nobody asked for it (${inWords(operation)})`;
  });
  oracle.world.coverage.path(`a job is canceled while it is ${before.state} by ${operation.type}`);
}

function mayCancel(operation: Operation, { id, state, batchId }: JobRecord): boolean {
  switch (operation.type) {
    case "cancel":
      return operation.jobId === id;
    case "cancel batch":
      return operation.batchId === batchId;
    case "operate":
      // Running jobs are never purged.
      return operation.request.kind === "cancel" || (operation.request.kind === "purge" && state === "queued");
    default:
      return false;
  }
}

/** A running job goes on: its phase only moves forward. */
function checkRenewal(before: RunningJob, next: RunningJob): void {
  promise(
    "I5",
    PHASES.indexOf(next.phase) >= PHASES.indexOf(before.phase),
    () => `${next.id} went back from ${before.phase} to ${next.phase}`,
  );
  promise(
    "I7",
    before.lease.confirmed ? next.lease.confirmed : true,
    () => `the lease of ${next.id} is unconfirmed again`,
  );
}
