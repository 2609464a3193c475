import { describe, expect, it } from "vitest";
import { CallGroup, type Outcome } from "#durable-objects/endpoint/call-group";
import { EndpointHarness } from "./endpoint-harness.ts";

/** A machine whose commits are written down, with a bell that only the test rings. */
function fixture() {
  const groups: number[] = [];
  const log: string[] = [];
  const bells: (() => void)[] = [];
  let commitFails = false;
  const calls = new CallGroup<object, string>(
    (works) => {
      groups.push(works.length);
      if (commitFails) throw new Error("the disk is full");
      return works.map((work): Outcome<string> => {
        try {
          const result = work({});
          return { ok: true, result, effects: [`effect of ${String(result)}`] };
        } catch (error) {
          return { ok: false, error, effects: [] };
        }
      });
    },
    (effect) => log.push(effect),
    (ring) => bells.push(ring),
  );
  const ring = () => bells.shift()?.();
  const call = (name: string) =>
    calls.enter(
      () => name,
      (result) => {
        log.push(`answer of ${result}`);
        return result;
      },
    );
  return { groups, log, bells, calls, ring, call, failCommits: () => (commitFails = true) };
}

describe("calls", () => {
  it("run at once when nothing is going on, and together when something is", async () => {
    const { groups, bells, ring, call } = fixture();
    expect(await call("a")).toBe("a");
    const gathered = [call("b"), call("c"), call("d")];
    expect(groups).toEqual([1]);
    ring();
    expect(groups).toEqual([1, 3]);
    expect(await Promise.all(gathered)).toEqual(["b", "c", "d"]);
    ring();
    expect(bells).toEqual([]);
  });

  it("wait for each other where the last ones came together, until one comes alone", async () => {
    const { groups, bells, ring, call } = fixture();
    await call("a");
    const gathered = [call("b"), call("c")];
    ring();
    ring();
    await Promise.all(gathered);
    const together = [call("d"), call("e")];
    expect(groups).toEqual([1, 2]);
    ring();
    expect(await Promise.all(together)).toEqual(["d", "e"]);
    ring();
    const alone = call("f");
    ring();
    expect(await alone).toBe("f");
    ring();
    expect(bells).toEqual([]);
    expect(await call("g")).toBe("g");
    expect(groups).toEqual([1, 2, 2, 1, 1]);
  });

  it("are answered in their order, each after its own effects", async () => {
    const { log, ring, call } = fixture();
    await call("a");
    const gathered = [call("b"), call("c")];
    ring();
    await Promise.all(gathered);
    expect(log.slice(2)).toEqual(["effect of b", "answer of b", "effect of c", "answer of c"]);
  });

  it("fail alone when they throw", async () => {
    const { calls, ring, call } = fixture();
    await call("a");
    const broken = calls.enter(
      () => {
        throw new Error("broken");
      },
      (result) => result,
    );
    const whole = call("b");
    const heard = expect(broken).rejects.toThrow("broken");
    ring();
    await heard;
    expect(await whole).toBe("b");
  });

  it("all fail when their commit does", async () => {
    const { log, ring, call, failCommits } = fixture();
    await call("a");
    const gathered = [call("b"), call("c")].map((each) => expect(each).rejects.toThrow("the disk is full"));
    failCommits();
    log.length = 0;
    ring();
    await Promise.all(gathered);
    expect(log).toEqual([]);
  });
});

describe("a group of an endpoint's calls", () => {
  const jobsIn = (world: EndpointHarness) => world.db.exec("SELECT id FROM jobs").length;

  it("is one commit in which each call is undone alone", () => {
    const world = new EndpointHarness();
    const { exec } = world.db;
    // The second call gives way after it has written its job.
    world.db.exec = (sql, ...bindings) => {
      if (sql.includes("INTO idempotency")) throw new Error("broken");
      return exec.call(world.db, sql, ...bindings);
    };
    const outcomes = world.core.group([
      (core) => core.enqueue(world.request()),
      (core) => core.enqueue(world.request({ idempotency: { key: "order-1", fingerprint: "f" } })),
      (core) => core.enqueue(world.request({ lane: "batch" })),
    ]);
    world.db.exec = exec;
    expect(jobsIn(world)).toBe(2);
    expect(outcomes[1]?.effects).toEqual([]);
    expect(outcomes[2]).toMatchObject({ result: { ok: true, job: { position: 2 } } });
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, false, true]);
    expect(outcomes[0]).toMatchObject({ result: { ok: true, job: { position: 1 } } });
    expect(outcomes[0]?.effects.map(({ type }) => type)).toContain("job_changed");
    expect(world.core.takeEffects()).toEqual([]);
  });

  it("asks its pods for replicas once, for all of its calls", () => {
    const world = new EndpointHarness({ max_replicas: 3 });
    const submits = Array.from({ length: 3 }, () => (core: EndpointHarness["core"]) => core.enqueue(world.request()));
    const outcomes = world.core.group(submits);
    const asked = outcomes.map(({ effects }) => effects.filter(({ type }) => type === "send_demand").length);
    expect(asked).toEqual([0, 0, 1]);
    expect(world.core.demand()).toMatchObject({ needed: 3, wanted: 3 });
  });

  it("leaves nothing behind when its commit fails: no row, no count, no effect, no waiter (G1)", () => {
    const world = new EndpointHarness({ max_replicas: 2 });
    const replica = world.replica();
    world.poll(replica);
    const before = world.armedAt;
    const transaction = world.db.transaction.bind(world.db);
    let depth = 0;
    world.db.transaction = <T>(work: () => T): T => {
      depth += 1;
      try {
        return transaction(() => {
          const value = work();
          if (depth === 1) throw new Error("the disk is full");
          return value;
        });
      } finally {
        depth -= 1;
      }
    };
    const submits = Array.from({ length: 3 }, () => (core: EndpointHarness["core"]) => core.enqueue(world.request()));
    expect(() => world.core.group(submits)).toThrow("the disk is full");
    world.db.transaction = transaction;
    expect(jobsIn(world)).toBe(0);
    expect(world.core.takeEffects()).toEqual([]);
    expect(world.core.queueSummary(world.workspaceId)).toMatchObject({
      summary: { queued: { interactive: 0 }, running: 0 },
    });
    expect(world.armedAt).toBe(before);
    // The poll that the lost submits had answered still waits, and gets the next job.
    const id = world.submit();
    expect(world.answers.at(-1)?.answer.lease?.job_id).toBe(id);
    expect(world.armedAt).not.toBeNull();
  });
});
