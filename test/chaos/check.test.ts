import { describe, expect, it } from "vitest";
import { check, countViolations, VIOLATION_KINDS, type ViolationKind } from "./check.ts";
import { goodEvidence, type Spoilable } from "./good-evidence.ts";

type Job = Spoilable["jobs"][number];
type Record = NonNullable<Job["record"]>;

const job = (evidence: Spoilable, index: number): Job => {
  const found = evidence.jobs[index];
  if (found === undefined) throw new Error(`no job ${index}`);
  return found;
};
const record = (evidence: Spoilable, index: number): Record => {
  const found = job(evidence, index).record;
  if (found === null) throw new Error(`job ${index} has no record`);
  return found;
};
const only = <T>(items: readonly (T | undefined)[], index = 0): T => {
  const item = items[index];
  if (item === undefined) throw new Error(`no item ${index}`);
  return item;
};

/** What is done to good evidence, and what the checker must call it. */
const SPOILED: readonly (readonly [what: string, kind: ViolationKind, spoil: (evidence: Spoilable) => void])[] = [
  [
    "an accepted job that is a 404",
    "lost",
    (e) => {
      job(e, 0).record = null;
    },
  ],
  ["an accepted job that no list shows", "lost", (e) => void e.listed.shift()],
  [
    "a job that runs for ever",
    "lost",
    (e) => {
      record(e, 0).state = "running";
    },
  ],
  [
    "a job that failed for its agents' faults",
    "lost",
    (e) => {
      Object.assign(record(e, 0), { state: "failed", outputs: [], error: { code: "lease_lost", message: "" } });
      only(job(e, 0).events.slice(-1)).type = "failed";
    },
  ],
  ["a succeeded job without one of its outputs", "lost", (e) => void record(e, 0).outputs.pop()],
  ["an output that cannot be downloaded", "lost", (e) => void job(e, 0).downloads.pop()],
  ["an output that is not in the bucket", "lost", (e) => void e.stored.shift()],
  [
    "one Idempotency-Key that became two jobs",
    "duplicates",
    (e) => {
      job(e, 0).acknowledged[1] = only(e.listed, 2);
    },
  ],
  [
    "two submits that got one job",
    "duplicates",
    (e) => {
      job(e, 1).acknowledged[0] = record(e, 0).id;
    },
  ],
  ["a job that nobody submitted", "duplicates", (e) => void e.listed.push("job_1m7z3j54w9c46gbm8kq223p1na")],
  [
    "two sets of outputs",
    "duplicates",
    (e) => void record(e, 0).outputs.push(...structuredClone(record(e, 0).outputs)),
  ],
  [
    "a picture of other pixels",
    "wrong_results",
    (e) => {
      only(record(e, 0).outputs).sha256 = "0".repeat(64);
      only(job(e, 0).downloads).sha256 = "0".repeat(64);
    },
  ],
  [
    "bytes that are not those of the record",
    "wrong_results",
    (e) => {
      only(job(e, 0).downloads).sha256 = "0".repeat(64);
    },
  ],
  [
    "a failing job that succeeded",
    "wrong_results",
    (e) => {
      record(e, 2).state = "succeeded";
    },
  ],
  ["two rows for one lease", "double_usage", (e) => void e.usage.push(structuredClone(only(e.usage)))],
  [
    "two leases at one time",
    "double_usage",
    (e) => {
      const [, first, second] = e.usage;
      if (first !== undefined && second !== undefined) second.started_at = first.started_at;
    },
  ],
  [
    "a row that bills more than its time",
    "double_usage",
    (e) => {
      only(e.usage).ms = 5_000;
    },
  ],
  ["a success that nobody is billed for", "missing_usage", (e) => void e.usage.shift()],
  [
    "a success of the lease before the last",
    "stale_writes",
    (e) => {
      only(e.usage, 1).outcome = "completed";
      only(e.usage, 2).outcome = "lost";
    },
  ],
  [
    "two leases that both completed",
    "stale_writes",
    (e) => {
      only(e.usage, 1).outcome = "completed";
    },
  ],
  [
    "a success of a replica that had not the last lease",
    "stale_writes",
    (e) => {
      only(e.usage).replica_id = only(e.usage, 2).replica_id;
    },
  ],
  [
    "a success of an earlier attempt",
    "stale_writes",
    (e) => {
      only(e.usage).attempt = 2;
    },
  ],
  [
    "an attempt after the end",
    "stale_writes",
    (e) => {
      const { events } = job(e, 0);
      events.push({ seq: events.length + 1, type: "started", at: null, replicaId: null });
    },
  ],
  [
    "outputs under an older token",
    "stale_writes",
    (e) => {
      for (const stored of e.stored) if (stored.key.includes("/7.")) stored.key = stored.key.replace("/7.", "/3.");
      e.stored.push({ key: `out/d7/ws_1/${record(e, 0).id}/7.00ff00ff00ff00ff00ff00ff/0`, sha256: "0".repeat(64) });
    },
  ],
  [
    "a canceled job that a lease completed",
    "stale_writes",
    (e) => {
      only(e.usage, 4).outcome = "completed";
    },
  ],
  [
    "a late success that was taken",
    "stale_writes",
    (e) => {
      only(e.lateCompletes).status = 200;
    },
  ],
  ["a gap between events", "event_gaps", (e) => void job(e, 0).events.splice(1, 1)],
  [
    "an event that came twice",
    "event_gaps",
    (e) => void job(e, 0).events.splice(1, 0, structuredClone(only(job(e, 0).events))),
  ],
  [
    "an end that is not the job's state",
    "event_gaps",
    (e) => {
      only(job(e, 0).events.slice(-1)).type = "failed";
    },
  ],
  [
    "a cancel that was not kept",
    "broken_cancels",
    (e) => {
      job(e, 3).cancelAnswer = "succeeded";
    },
  ],
  ["an end that the workspace never heard of", "webhooks_missing", (e) => void e.messages.shift()],
  [
    "a message that never got through",
    "webhooks_missing",
    (e) => {
      for (const message of e.messages) if (message.path === "/jobs") message.status = 503;
    },
  ],
  [
    "a message under two ids",
    "webhook_ids",
    (e) => {
      const message = only(e.messages.filter(({ path }) => path === "/jobs").slice(-1));
      Object.assign(message, { id: "msg_other" });
    },
  ],
  [
    "a body that was changed on its way",
    "bad_signatures",
    (e) => {
      only(e.messages).body += " ";
    },
  ],
  [
    "a message without the asymmetric signature",
    "bad_signatures",
    (e) => {
      const message = only(e.messages);
      message.signature = only(message.signature.split(" "));
    },
  ],
  [
    "a message without the secret's signature",
    "bad_signatures",
    (e) => {
      const message = only(e.messages);
      message.signature = only(message.signature.split(" "), 1);
    },
  ],
  [
    "a message signed with another secret",
    "bad_signatures",
    (e) => {
      only(e.destinations).secret = only(e.destinations, 1).secret;
    },
  ],
  [
    "a message signed with another key",
    "bad_signatures",
    (e) => {
      e.publicKey = Buffer.alloc(32, 9).toString("base64");
    },
  ],
  [
    "a submit that was answered 500",
    "bad_answers",
    (e) => {
      e.submitStatuses[500] = 1;
    },
  ],
  ["a submit that was refused for good", "bad_answers", (e) => void e.refused.push("job 4: invalid_inputs")],
  [
    "a key in a log",
    "leaks",
    (e) => {
      only(e.logs).text += '{"authorization":"pl_a-secret-key"}';
    },
  ],
];

describe("the checker", () => {
  it("finds nothing in a run that kept its promises", () => {
    expect(check(goodEvidence())).toEqual([]);
  });

  it.each(SPOILED)("names %s: %s", (_, kind, spoil) => {
    const evidence = goodEvidence();
    spoil(evidence);
    expect(check(evidence).map((violation) => violation.kind)).toContain(kind);
  });

  it("knows an example of every kind it can name", () => {
    expect(new Set(SPOILED.map(([, kind]) => kind))).toEqual(new Set(VIOLATION_KINDS));
  });

  it("counts what it found", () => {
    const evidence = goodEvidence();
    job(evidence, 0).record = null;
    only(evidence.lateCompletes).status = 200;
    expect(countViolations(check(evidence))).toMatchObject({ lost: 1, stale_writes: 1, duplicates: 0 });
  });

  it("says no secret in its verdict", () => {
    const evidence = goodEvidence();
    only(evidence.logs).text += "pl_a-secret-key";
    expect(JSON.stringify(check(evidence))).not.toContain("pl_a-secret-key");
  });

  it("takes a late success without an answer for refused: its server was killed", () => {
    const evidence = goodEvidence();
    only(evidence.lateCompletes).status = null;
    expect(check(evidence)).toEqual([]);
  });
});
