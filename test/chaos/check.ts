/** Judges the evidence of a chaos run. Pure: the same evidence gets the same verdict. */
import { isTerminal } from "#contract/job";
import { checkMessages } from "./check-messages.ts";
import { checkUsage } from "./check-usage.ts";
import type { Evidence, JobEvidence } from "./evidence.ts";

export const VIOLATION_KINDS = [
  "lost",
  "duplicates",
  "wrong_results",
  "double_usage",
  "missing_usage",
  "stale_writes",
  "event_gaps",
  "broken_cancels",
  "webhooks_missing",
  "webhook_ids",
  "bad_signatures",
  "bad_answers",
  "leaks",
] as const;
export type ViolationKind = (typeof VIOLATION_KINDS)[number];

export interface Violation {
  readonly kind: ViolationKind;
  /** A sentence that names the job, message or file. */
  readonly detail: string;
}

/** A submit is stored (202), repeated too early (409), refused for now (429), or not served for now (503). */
const HONEST_STATUSES: readonly number[] = [200, 202, 409, 429, 503];
const LATE_STATUSES: readonly (number | null)[] = [409, null];

/** Everything that is wrong, in the order in which it was looked for; none for a run that kept its promises. */
export function check(evidence: Evidence): Violation[] {
  return [
    ...evidence.jobs.flatMap(checkJob),
    ...checkIdentity(evidence),
    ...checkStored(evidence),
    ...checkUsage(evidence),
    ...checkMessages(evidence),
    ...checkAnswers(evidence),
    ...checkLogs(evidence),
  ];
}

/** How many violations of each kind there are. */
export function countViolations(violations: readonly Violation[]): Record<ViolationKind, number> {
  const counts = Object.fromEntries(VIOLATION_KINDS.map((kind) => [kind, 0])) as Record<ViolationKind, number>;
  for (const { kind } of violations) counts[kind] += 1;
  return counts;
}

function checkJob(job: JobEvidence): Violation[] {
  const found: Violation[] = [];
  const { plan, record, acknowledged } = job;
  const say = (kind: ViolationKind, detail: string) => found.push({ kind, detail: `job ${plan.index}: ${detail}` });
  const [id] = acknowledged;
  // Never accepted: nothing was promised.
  if (id === undefined) return found;
  for (const other of acknowledged.slice(1)) {
    if (other !== id) say("duplicates", `one Idempotency-Key became ${id} and ${other}`);
  }
  if (record === null) {
    say("lost", `${id} was accepted and is not there`);
    return found;
  }
  if (!isTerminal(record.state)) {
    say("lost", `${id} is ${record.state} for ever`);
    return found;
  }
  const wanted =
    plan.kind === "failing" ? ["failed"] : plan.kind === "canceled" ? ["canceled", "succeeded"] : ["succeeded"];
  if (!wanted.includes(record.state)) {
    // A job that was to succeed and did not has lost its result.
    const kind = wanted.includes("succeeded") ? "lost" : "wrong_results";
    say(kind, `${id} is ${record.state} (${record.error?.code ?? "no error"}), not ${wanted.join(" or ")}`);
  } else if (plan.kind === "failing" && record.error?.code !== "execution_error") {
    say("wrong_results", `${id} failed with ${record.error?.code ?? "no error"}, not with its own execution_error`);
  }
  if (plan.kind === "canceled" && job.cancelAnswer !== null && job.cancelAnswer !== record.state) {
    say("broken_cancels", `${id}: the cancel was answered ${job.cancelAnswer}, the job is ${record.state}`);
  }
  found.push(...checkOutputs(job, id), ...checkEvents(job, id));
  return found;
}

/** One set of outputs, the one that the workflow makes, and it can be downloaded. */
function checkOutputs(job: JobEvidence, id: string): Violation[] {
  const found: Violation[] = [];
  const { record, expected, downloads } = job;
  if (record === null) return found;
  const names = Object.keys(expected);
  if (record.state !== "succeeded") {
    if (record.outputs.length > 0)
      found.push({ kind: "wrong_results", detail: `${id} is ${record.state} and has outputs` });
    return found;
  }
  for (const name of names) {
    const listed = record.outputs.filter(({ output }) => output === name);
    if (listed.length === 0) found.push({ kind: "lost", detail: `${id} has no output ${name}` });
    if (listed.length > 1)
      found.push({ kind: "duplicates", detail: `${id} has output ${name} ${listed.length} times` });
  }
  for (const output of record.outputs) {
    const wanted = expected[output.output];
    if (wanted === undefined) {
      found.push({
        kind: "duplicates",
        detail: `${id} has an output ${output.output} that its workflow does not make`,
      });
      continue;
    }
    if (output.sha256 !== wanted) {
      found.push({ kind: "wrong_results", detail: `${id}: ${output.name} is ${output.sha256}, it must be ${wanted}` });
    }
    const download = downloads.find(({ name }) => name === output.name);
    if (download === undefined) found.push({ kind: "lost", detail: `${id}: ${output.name} cannot be downloaded` });
    else if (download.sha256 !== output.sha256) {
      found.push({
        kind: "wrong_results",
        detail: `${id}: the bytes of ${output.name} are not the ones of its record`,
      });
    }
  }
  return found;
}

/** Numbers from 1 without a gap, one terminal event, and nothing after it. */
function checkEvents({ record, events }: JobEvidence, id: string): Violation[] {
  const found: Violation[] = [];
  if (record === null) return found;
  const numbers = events.map(({ seq }) => seq);
  if (numbers.length === 0 || numbers.some((seq, index) => seq !== index + 1)) {
    found.push({ kind: "event_gaps", detail: `${id}: its events are numbered ${numbers.join(" ") || "not at all"}` });
  }
  const last = events.at(-1);
  if (last !== undefined && last.type !== record.state) {
    found.push({ kind: "event_gaps", detail: `${id} is ${record.state}, its last event is ${last.type}` });
  }
  const end = events.findIndex(({ type }) => ["succeeded", "failed", "canceled", "expired"].includes(type));
  for (const { seq, type } of end < 0 ? [] : events.slice(end + 1)) {
    found.push({ kind: "stale_writes", detail: `${id}: event ${seq} (${type}) comes after its end` });
  }
  return found;
}

/** Two submits never share a job, and no job is there that nobody was told of. */
function checkIdentity({ jobs, listed }: Evidence): Violation[] {
  const found: Violation[] = [];
  const owners = new Map<string, number>();
  for (const { plan, acknowledged } of jobs) {
    for (const id of new Set(acknowledged)) {
      const owner = owners.get(id);
      if (owner !== undefined)
        found.push({ kind: "duplicates", detail: `jobs ${owner} and ${plan.index} are both ${id}` });
      owners.set(id, plan.index);
    }
  }
  const seen = new Set<string>();
  for (const id of listed) {
    if (seen.has(id)) found.push({ kind: "duplicates", detail: `${id} is listed twice` });
    seen.add(id);
    // A job whose answer never arrived would be one of a submit that was given up; those are repeated until answered.
    if (!owners.has(id))
      found.push({ kind: "duplicates", detail: `${id} is there, but no submit was answered with it` });
  }
  for (const id of owners.keys()) {
    if (!seen.has(id)) found.push({ kind: "lost", detail: `${id} was accepted and is not listed` });
  }
  return found;
}

/** The newest token under a succeeded job holds its outputs: an older one that won would have left them elsewhere. */
function checkStored({ jobs, stored }: Evidence): Violation[] {
  const found: Violation[] = [];
  const byJob = new Map<string, { counter: number; sha256: string | null }[]>();
  for (const { key, sha256 } of stored) {
    const match = /^out\/[^/]+\/[^/]+\/(job_[^/]+)\/([0-9]+)\.[^/]+\//.exec(key);
    if (match?.[1] === undefined) continue;
    byJob.set(match[1], [...(byJob.get(match[1]) ?? []), { counter: Number(match[2]), sha256 }]);
  }
  for (const { record } of jobs) {
    if (record?.state !== "succeeded") continue;
    const objects = byJob.get(record.id) ?? [];
    const newest = Math.max(...objects.map(({ counter }) => counter));
    const kept = objects.filter(({ counter }) => counter === newest).map(({ sha256 }) => sha256);
    for (const output of record.outputs) {
      if (kept.includes(output.sha256)) continue;
      const elsewhere = objects.some(({ sha256 }) => sha256 === output.sha256);
      found.push({
        kind: elsewhere ? "stale_writes" : "lost",
        detail: `${record.id}: ${output.name} is ${elsewhere ? "stored under an older lease than its last" : "not stored"}`,
      });
    }
  }
  return found;
}

function checkAnswers({ submitStatuses, refused, lateCompletes }: Evidence): Violation[] {
  const found: Violation[] = [];
  for (const [status, times] of Object.entries(submitStatuses)) {
    if (!HONEST_STATUSES.includes(Number(status))) {
      found.push({ kind: "bad_answers", detail: `a submit was answered ${status}, ${times} times` });
    }
  }
  for (const detail of refused) found.push({ kind: "bad_answers", detail });
  for (const { leaseId, status } of lateCompletes) {
    if (!LATE_STATUSES.includes(status)) {
      found.push({ kind: "stale_writes", detail: `${leaseId} was over, and its success was answered ${status}` });
    }
  }
  return found;
}

function checkLogs({ logs, secrets }: Evidence): Violation[] {
  const found: Violation[] = [];
  for (const { name, text } of logs) {
    for (const [index, secret] of secrets.entries()) {
      // The secret itself has no business in the verdict either.
      if (text.includes(secret)) found.push({ kind: "leaks", detail: `${name} holds secret number ${index + 1}` });
    }
  }
  return found;
}
