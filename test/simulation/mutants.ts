/** Known failures of real systems, each put into the product's source: the simulation must find every one. */

export interface Mutant {
  readonly name: string;
  /** What went wrong elsewhere, and where that is told. */
  readonly bug: string;
  readonly url: string;
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** Further changes that belong to it, in the same file. */
  readonly also?: readonly { readonly find: string; readonly replace: string }[];
  /** A seed that finds it soon, so that the test is quick; any other may find it too. */
  readonly seed?: number;
}

const CORE = "durable-objects/endpoint/endpoint-core.ts";
const TURNS = "durable-objects/endpoint/turns.ts";
const CLOCK = "durable-objects/endpoint/alarm-clock.ts";
const LEASES = "durable-objects/endpoint/leases.ts";
const STATE = "durable-objects/endpoint/endpoint-state.ts";
const POLLS = "durable-objects/endpoint/replica-polls.ts";
const SWEEP = "durable-objects/endpoint/sweep.ts";
const TRANSITION = "durable-objects/queue/transition.ts";
const LEASE = "durable-objects/queue/lease.ts";

export const MUTANTS: readonly Mutant[] = [
  {
    name: "late-progress",
    bug: "RunPod's SDK: a late progress update puts a finished job back to IN_PROGRESS",
    url: "https://github.com/runpod/runpod-python/issues/250",
    file: TRANSITION,
    find: "if (phase === null || PHASE_ORDER.indexOf(phase) <= PHASE_ORDER.indexOf(job.phase)) return heard;",
    replace: "if (phase === null || phase === job.phase) return heard;",
  },
  {
    name: "no-output-check",
    bug: "A job succeeds although its outputs never reached storage",
    url: "https://blog.cloudflare.com/cloudflare-incident-on-february-6-2025",
    file: "durable-objects/outputs/stored-outputs.ts",
    find: "if (object === null) {",
    replace: "if (object === null) return;\n  if (object === null) {",
    seed: 218,
  },
  {
    name: "foreign-outputs",
    bug: "A stale holder's files count for the job that another one runs again",
    url: "https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html",
    file: LEASES,
    find: "{authority.lease.token}/`;\n  return",
    replace: '{""}`;\n  return',
    seed: 7,
  },
  {
    name: "bill-on-lease",
    bug: "A lease that reached nobody is billed as an attempt",
    url: "https://docs.runpod.io/serverless/endpoints/operations",
    file: STATE,
    find: 'const heard = before.lease.confirmed || outcome === "completed" || outcome === "failed";',
    replace: "const heard = true;",
    seed: 6,
  },
  {
    name: "bill-dup",
    bug: "An ended attempt is written again by a late message and counted twice",
    url: "https://github.com/celery/celery/issues/3270",
    file: LEASE,
    find: "return last === undefined || last.endedAt !== null ? leases : [...leases.slice(0, -1), { ...last, ...end }];",
    replace: "return last === undefined ? leases : [...leases, { ...last, ...end }];",
  },
  {
    name: "token-reuse",
    bug: "Tokens begin anew after a restart, so that an old holder's is good again",
    url: "https://failure-modes.dev/library/fm-020",
    file: "durable-objects/endpoint/lease-counter.ts",
    find: "this.#configs.reserveCounters(counter.reserved);",
    replace: "",
  },
  {
    name: "slot-leak",
    bug: "Trigger.dev: a run stays in the concurrency set, and the queue waits for a slot for ever",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/2931",
    file: STATE,
    find: "else running.remove(before.id);",
    replace: 'else if (after.state !== "queued") running.remove(before.id);',
    seed: 6,
  },
  {
    name: "last-attempt-stuck",
    bug: "liteque: a worker lost in the last attempt leaves its job running for ever",
    url: "https://github.com/karakeep-app/liteque/issues/4",
    file: SWEEP,
    find: "if (job.lease.until <= now) {",
    replace: "if (job.lease.until <= now && job.attempt < job.attemptsMax) {",
    seed: 14,
  },
  {
    name: "no-renew",
    bug: "Celery: a task that runs longer than the visibility timeout is delivered again",
    url: "https://github.com/celery/kombu/issues/337",
    file: LEASE,
    find: "return { ...lease, confirmed: true, until: Math.max(lease.until, at + LEASE_MS) };",
    replace: "return { ...lease, confirmed: true };",
    seed: 1,
  },
  {
    name: "lifo",
    bug: "The newest job goes first, and the oldest starve",
    url: "https://github.com/taskforcesh/bullmq/issues/652",
    file: "durable-objects/queue/lane-head.ts",
    find: "return this.#keys.at(place);",
    replace: "return this.#keys.at(this.#keys.size - 1 - place);",
  },
  {
    name: "ageing-off",
    bug: "Priority alone decides, and what has little of it never starts",
    url: "https://docs.temporal.io/cloud/limits",
    file: "durable-objects/queue/order.ts",
    find: "return createdAt - priority * AGEING_MS_PER_LEVEL;",
    replace: "return createdAt - priority * AGEING_MS_PER_LEVEL * 1_000_000;",
  },
  {
    name: "no-boot-rearm",
    bug: "Local alarms are lost on a crash, and nothing sets them again",
    url: "https://github.com/cloudflare/workers-sdk/issues/7781",
    file: CORE,
    find: "      this.#state.giveTime(now);\n      dueNext(this.#state, now);",
    replace: "      this.#state.giveTime(now);",
    seed: 3,
  },
  {
    name: "alarm-no-rearm",
    bug: "A Durable Object's alarm that was past due for days never fired again",
    url: "https://github.com/cloudflare/cloudflare-docs/issues/18324",
    file: CLOCK,
    find: "if (this.#armedAt === null || this.#armedAt >= now - ALARM_LOST_MS) return null;",
    replace: "if (this.#armedAt === null || now > 0) return null;",
    seed: 6,
  },
  {
    name: "alarm-now",
    bug: "setAlarm(now) inside alarm() cuts the chain of alarms",
    url: "https://github.com/cloudflare/workerd/issues/6866",
    file: CLOCK,
    find: "const at = Math.max(now + 1, Math.min(due, this.#armedAt ?? Number.POSITIVE_INFINITY));",
    replace: "const at = Math.max(now, Math.min(due, this.#armedAt ?? Number.POSITIVE_INFINITY));",
  },
  {
    name: "rescue-snapshot",
    bug: "River's rescuer acts on an old snapshot: a completed job goes back to the queue",
    url: "https://github.com/riverqueue/river/issues/1302",
    file: SWEEP,
    find: "const job = state.live.renewed(stored);\n    if (job.lease.until <= now) {",
    replace: "const job = stored;\n    if (job.lease.until <= now) {",
    seed: 8,
  },
  {
    name: "requeue-orphan",
    bug: "Trigger.dev: a requeued run whose time to live has lapsed falls out of every structure",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/4669",
    file: SWEEP,
    find: "for (const job of state.jobs.delayedUntil(now, SWEEP_ROWS_MAX)) state.moved(job, { ...job, availableAt: null });",
    replace:
      "for (const job of state.jobs.delayedUntil(now, SWEEP_ROWS_MAX)) if (job.expiresAt > now + 86_000_000) state.moved(job, { ...job, availableAt: null });",
  },
  {
    name: "cancel-soft",
    bug: "A running job cannot be canceled: it is answered as canceled and goes on to succeed",
    url: "https://github.com/taskforcesh/bullmq/issues/439",
    file: "durable-objects/endpoint/cancel.ts",
    find: 'if (job.state === "running") return state.leaseEnded(job, canceled, "canceled", [], now);',
    replace: 'if (job.state === "running") return canceled;',
    seed: 9,
  },
  {
    name: "no-fence",
    bug: "Bull: a slow worker completes a job that another one has already run again",
    url: "https://github.com/OptimalBits/bull/issues/308",
    file: "durable-objects/queue/authority.ts",
    find: 'return job.state === "running" && job.lease.id === lease.id',
    replace: 'return job.state === "running"',
    seed: 17,
  },
  {
    name: "no-token",
    bug: "Bull: a job is moved without a look at whose lock it is under",
    url: "https://github.com/OptimalBits/bull/issues/498",
    file: "durable-objects/queue/authority.ts",
    find: "lease.token !== token || ",
    replace: "",
    seed: 12,
  },
  {
    name: "idem-two-tx",
    bug: "Mastodon: the idempotency key is checked and stored apart from what it is for",
    url: "https://github.com/mastodon/mastodon/pull/37879",
    file: CORE,
    find: "rememberKey(this.#state, key, job.id, now);\n      dispatch",
    replace: "later = () => rememberKey(this.#state, key, job.id, now);\n      dispatch",
    also: [
      {
        find: "return this.#write(request.workspaceId, (now) => {\n      const { jobs } = this.#state;\n      const { idempotency, keyId",
        replace:
          "let later = () => undefined;\n    const reply = this.#write(request.workspaceId, (now) => {\n      const { jobs } = this.#state;\n      const { idempotency, keyId",
      },
      {
        find: "job: snapshotOf(this.#state, after, payload, now), replayed: false };\n    });",
        replace:
          "job: snapshotOf(this.#state, after, payload, now), replayed: false };\n    });\n    this.#turns.mutate(() => later());\n    return reply;",
      },
    ],
    seed: 34,
  },
  {
    name: "stale-fail",
    bug: "Temporal's user: a timeout that the worker cannot see; the orphan's failure ends its successor's run",
    url: "https://github.com/dust-tt/dust/pull/29171",
    file: LEASES,
    find: 'if (authority.type === "over") return authority.lease.outcome === "failed" ? DONE : leaseLost();',
    replace:
      'if (authority.type === "over") { if (authority.job.state !== "running") return authority.lease.outcome === "failed" ? DONE : leaseLost(); state.leaseEnded(authority.job, failAttempt(authority.job, message.error, now, chance(state.world)), "failed", message.phases, now); return DONE; }',
    seed: 109,
  },
  {
    name: "complete-after-cancel",
    bug: "RunPod: what was canceled is completed by the message that was under way",
    url: "https://github.com/runpod/runpod-python/issues/250",
    file: LEASES,
    find: 'if (lease.outcome !== "completed") return leaseLost();',
    replace:
      'if (lease.outcome === "canceled" && job.state === "canceled") { state.jobs.put({ ...job, state: "succeeded", serviceMs: 0, outputs: [] } as never); return { ok: true, next: null }; }\n    if (lease.outcome !== "completed") return leaseLost();',
    seed: 28,
  },
  {
    name: "poll-id-forgotten",
    bug: "Trigger.dev: a second dequeue of a run that starts fails it",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/2129",
    file: POLLS,
    find: "if (presentLease(job)?.pollId === poll.poll_id) {",
    replace: "if (presentLease(job)?.pollId === poll.poll_id.repeat(2)) {",
    seed: 5,
  },
  {
    name: "unready-and-waiting",
    bug: "Late news of a replica's start takes it out of the choice although it waits for work",
    url: "https://github.com/triggerdotdev/trigger.dev/issues/2561",
    file: POLLS,
    find: 'replica.state !== "ready" || replica.draining || state.held',
    replace: "replica.draining || state.held",
    seed: 317,
  },
  {
    name: "ahead-beside-idle",
    bug: "Celery: what a busy worker has prefetched waits for its long task while other workers idle",
    url: "https://docs.celeryq.dev/en/stable/userguide/optimizing.html#prefetch-limits",
    file: "durable-objects/replicas/choose.ts",
    find: "      Number(a.works) - Number(b.works) ||\n      a.held - b.held ||\n",
    replace: "",
    seed: 59,
  },
  {
    name: "waits-again",
    bug: "Trigger.dev: a second dequeue of a run that starts fails it",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/2129",
    file: LEASES,
    find: "return { ok: true, next: again, waits: null };",
    replace:
      "const ms = again === null ? waitOn(state, lease.replicaId, message) : null;\n    return { ok: true, next: again, waits: ms === null ? null : { replicaId: lease.replicaId, ms } };",
    seed: 16,
  },
  {
    name: "abandoned-and-waiting",
    bug: "SQS gives messages to a long poll whose client has closed its connection",
    url: "https://github.com/aws/aws-sdk-java-v2/issues/1395",
    file: CORE,
    find: "if (this.#state.waiters.get(replicaId)?.pollId !== pollId) return;",
    replace: "if (replicaId !== pollId) return;",
    seed: 22,
  },
  {
    name: "purge-under-a-lease",
    bug: "River: a worker that does not know a job's kind discards jobs of other queues",
    url: "https://github.com/riverqueue/river/issues/1105",
    file: SWEEP,
    find: "if (state.config?.removed) cancelLiving(state, now);",
    replace: "if (state.config?.removed || state.jobs.running().length > 2) cancelLiving(state, now);",
    seed: 4,
  },
  {
    name: "retention-too-early",
    bug: "RunPod: results are gone minutes after they were made",
    url: "https://docs.runpod.io/serverless/endpoints/endpoint-configurations",
    file: "durable-objects/endpoint/forgetting.ts",
    find: '=== "ample" ? now - JOB_RETENTION_MS : now;',
    replace: '=== "ample" ? now - 86_400_000 : now;',
    seed: 26,
  },
  {
    name: "outputs-too-early",
    bug: "Replicate: outputs are deleted after an hour",
    url: "https://replicate.com/docs/topics/predictions/data-retention",
    file: SWEEP,
    find: "return state.history.endedAfter(state.configs.readPurgeMark(), now - OUTPUT_RETENTION_MS, limit);",
    replace: "return state.history.endedAfter(state.configs.readPurgeMark(), now - 3_600_000, limit);",
    seed: 4,
  },
  {
    name: "unbounded-retries",
    bug: "Self-hosted Inngest: 21 attempts within a second",
    url: "https://github.com/techdiary-dev/techdiary.dev/issues/104",
    file: "durable-objects/queue/retry.ts",
    find: "return Math.floor(jitter * bound);",
    replace: "return Math.floor(jitter * bound * 50);",
    seed: 1,
  },
  {
    name: "stale-count",
    bug: "Graphile Worker: a queue stays locked once a job of it has used up its attempts",
    url: "https://github.com/graphile/worker/issues/254",
    file: STATE,
    find: 'if (before.state === "queued") this.waiting.left(before);',
    replace: 'if (before.state === "queued" && after.state !== "expired") this.waiting.left(before);',
  },
  {
    name: "half-a-turn",
    bug: "Bull: a job is seen active before its lock exists; two steps that are not one",
    url: "https://github.com/OptimalBits/bull/pull/358",
    file: TURNS,
    find: "      result = this.#db.transaction(() => {\n        const value = work(now);\n        this.#settle(now);\n        return value;\n      });",
    replace: "      result = work(now);\n      this.#settle(now);",
  },
  {
    name: "memory-outlives-undo",
    bug: "Trigger.dev v2: two records of one truth, the job failed and its run started for ever",
    url: "https://github.com/triggerdotdev/trigger.dev/issues/290",
    file: STATE,
    find: "    this.waiting.forget();\n",
    replace: "",
    seed: 24,
  },
  {
    name: "events-rewritten",
    bug: "Trigger.dev: every task is stuck in DEQUEUED, and its story does not say why",
    url: "https://github.com/triggerdotdev/trigger.dev/issues/2561",
    file: "durable-objects/queue/job-record.ts",
    find: "return { ...job, events: [...job.events, { seq: job.events.length + 1, type, at, data: JSON.stringify(data) }] };",
    replace:
      "return { ...job, events: [...job.events.slice(-3), { seq: Math.min(4, job.events.length + 1), type, at, data: JSON.stringify(data) }] };",
    seed: 6,
  },
  {
    name: "lease-hoard",
    bug: "Trigger.dev: a parent holds the slot that its child needs",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/1272",
    file: LEASE,
    find: "export const JOBS_AT_WORK_MAX = 2;",
    replace: "export const JOBS_AT_WORK_MAX = 3;",
    seed: 18,
  },
  {
    name: "webhook-outside-tx",
    bug: "comfyui-api: a webhook lives in memory until it is sent",
    url: "https://github.com/SaladTechnologies/comfyui-api",
    file: "durable-objects/endpoint/outbox-store.ts",
    find: "  add(row: NewOutboxRow): void {",
    replace:
      "  add(latest: NewOutboxRow): void {\n    this.ram ??= [];\n    this.ram.push(latest);\n    if (this.ram.length < 3) return;\n    const row = this.ram.shift();",
    seed: 1,
  },
  {
    name: "new-webhook-id",
    bug: "A webhook gets a new id with each try, so that its receiver cannot tell it came before",
    url: "https://docs.svix.com/retries",
    file: "durable-objects/endpoint/outbox-store.ts",
    find: 'messageId: text(row, "message_id"),',
    replace: 'messageId: text(row, "message_id") + String((globalThis.tries = (globalThis.tries ?? 0) + 1)),',
    seed: 1,
  },
  {
    name: "outbox-loop",
    bug: "A retry that is under way is due all the time: the alarm rings in a circle while the receiver is slow",
    url: "https://www.hooktunnel.com/blog/webhook-retry-storms",
    file: "durable-objects/endpoint/telling.ts",
    find: "state.handOverAskedAt + HAND_OVER_LATE_MS",
    replace: "0",
    seed: 145,
  },
  {
    name: "pause-forgotten",
    bug: "A paused queue hands out jobs again after a restart",
    url: "https://github.com/taskforcesh/bullmq/issues/652",
    file: STATE,
    find: "    this.pause = this.controls.readPause();\n",
    replace: "",
    seed: 7,
  },
  {
    name: "pause-half",
    bug: "A paused queue still hands the next job to whoever has just completed one",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/1272",
    file: "durable-objects/endpoint/matcher.ts",
    find: "!mayWork(state, replica.replicaId, now) || holdsStarts(state, now)",
    replace: "!mayWork(state, replica.replicaId, now)",
    seed: 154,
  },
  {
    name: "purge-running",
    bug: "A purge takes running jobs along",
    url: "https://github.com/celery/celery/issues/2481",
    file: "durable-objects/endpoint/operations.ts",
    find: 'if (job.state !== "queued" || (criteria.retrying && !isRetrying(job))) return null;',
    replace: "if (isEnded(job) || (criteria.retrying && !isRetrying(job))) return null;",
    also: [{ find: 'return { ...given, states: ["queued"] };', replace: "return { ...given, states: LIVING };" }],
    seed: 11,
  },
  {
    name: "batch-in-two",
    bug: "Inngest: an enqueue without a key of its own takes the same work several times",
    url: "https://github.com/inngest/inngest/pull/859",
    file: "durable-objects/endpoint/batches.ts",
    find: "rememberKey(state, key, id, now);",
    replace: "",
    seed: 15,
  },
  {
    name: "no-poll-order",
    bug: "Late news of a replica's start takes it out of the choice although it waits for work",
    url: "https://github.com/triggerdotdev/trigger.dev/issues/2561",
    file: "durable-objects/endpoint/replica-life.ts",
    find: "const isLate = isStarting(stated) && state.waiters.has(known.id);",
    replace: "const isLate = false;",
    seed: 54,
  },
  {
    name: "waiter-forgotten",
    bug: "Temporal: who waited for a task is forgotten when matching restarts",
    url: "https://github.com/temporalio/temporal/issues/459",
    file: STATE,
    find: "for (const [id, waiter] of waiters) this.waiters.set(id, waiter);",
    replace: "",
    seed: 27,
  },
  {
    name: "second-restart",
    bug: "pg-boss: an active job expires under the hands of who works on it",
    url: "https://github.com/timgit/pg-boss/issues/250",
    file: STATE,
    find: "until: job.lease.until + PROGRESS_PERSIST_MS,",
    replace: "until: job.lease.until,",
    seed: 8,
  },
  {
    name: "answered-before-commit",
    bug: "NATS JetStream acknowledges before what it acknowledged is durable",
    url: "https://jepsen.io/analyses/nats-2.12.1",
    file: TURNS,
    find: "return this.#db.transaction(run);",
    replace: "return this.#db.transaction(() => (early = run()));",
    also: [
      {
        find: "    const { armedAt } = this.#alarm;\n",
        replace: "    const { armedAt } = this.#alarm;\n    let early;\n",
      },
      {
        find: "this.#alarm.restore(armedAt);\n      throw error;",
        replace: "this.#alarm.restore(armedAt);\n      if (early !== undefined) return early;\n      throw error;",
      },
    ],
    seed: 7,
  },
  {
    name: "group-remembers",
    bug: "Trigger.dev: what an undone step counted stays counted",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/2931",
    file: TURNS,
    find: "state.forget(waiters);\n      state.effects = effects;",
    replace: "state.effects = effects;",
    seed: 24,
  },
  {
    name: "late-write-outlives-undo",
    bug: "Bull: a job's two steps that are not one, so that half of what was undone is there",
    url: "https://github.com/OptimalBits/bull/pull/358",
    file: "durable-objects/sql/late-writes.ts",
    find: "      this.#late = null;\n      throw error;",
    replace: "      throw error;",
    seed: 997,
  },
  {
    name: "expiry-forgotten",
    bug: "Trigger.dev: a run whose time to live lapses in an undone step is never looked at again",
    url: "https://github.com/triggerdotdev/trigger.dev/pull/4669",
    file: STATE,
    find: "    this.expiry.forget();\n",
    replace: "",
    seed: 82,
  },
  {
    name: "open-to-strangers",
    bug: "A lookup by id alone: whoever knows a job's id reads and ends it",
    url: "https://owasp.org/API-Security/editions/2023/en/0xa1-broken-object-level-authorization/",
    file: CORE,
    find: "    return this.#state.config?.workspaceId !== workspaceId;",
    replace: "    return this.#state.config === null && workspaceId !== undefined;",
    seed: 1,
  },
];

/** Under faults, of one seed: most mistakes show early. */
export const OPERATIONS_OF_A_MUTANT = 500;
/** A mutant that lives through so many seeds would live through a pull request. */
const SEEDS_MAX = 200;

/** The seed that is known to find the mutant, then all others. */
export function* seedsFor({ seed }: Mutant): Generator<number> {
  if (seed !== undefined) yield seed;
  for (let other = 1; other <= SEEDS_MAX; other += 1) if (other !== seed) yield other;
}
