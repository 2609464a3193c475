import { describe, expect, it } from "vitest";
import { WEBHOOKS_PER_WORKSPACE_MAX } from "#contract/limits";
import { DOUBTFUL_SENDS_MAX, FAILING_SENDS_MAX } from "#durable-objects/webhooks/send-order";
import { CONNECTIONS_PER_OBJECT, COURIERS_MAX } from "#durable-objects/webhooks/tries-under-way";
import { answered, NO_ANSWER, OK, WebhooksHarness } from "#test/durable-objects/outbox/webhooks-harness";

const url = (name: string) => `https://${name}.example.com/in`;

/** Connections in use, by who has them. */
function inUse(hooks: WebhooksHarness): Map<number | null, number> {
  const used = new Map<number | null, number>();
  for (const { courier } of hooks.open) used.set(courier, (used.get(courier) ?? 0) + 1);
  return used;
}

/** A workspace whose subscriptions have never been asked before: so many that hang, and one that answers. */
function withHanging(count: number): WebhooksHarness {
  const hooks = new WebhooksHarness();
  for (let index = 0; index < count; index += 1) hooks.subscribe(["job.succeeded"], { url: url(`hangs-${index}`) });
  hooks.subscribe(["job.failed"], { url: url("quick") });
  return hooks;
}

/** The oldest try to somebody who hangs comes to its end. */
function endOldest(hooks: WebhooksHarness): void {
  const [oldest] = hooks.open;
  if (oldest === undefined) throw new Error("nobody hangs");
  hooks.answer(oldest, NO_ANSWER);
}

describe("a new receiver that answers quickly", () => {
  it.each([5, 20, 50, WEBHOOKS_PER_WORKSPACE_MAX - 1])(
    "is asked at once while %i new ones hang: no try has to end first",
    (count) => {
      const hooks = withHanging(count);
      hooks.publish(...Array.from({ length: 5 }, () => hooks.event()));
      expect(hooks.open).toHaveLength(count);
      hooks.publish(hooks.event({ type: "job.failed" }));
      expect(hooks.open.filter((one) => one.url === url("quick"))).toHaveLength(1);
    },
  );

  it("is asked at once also when it has waited for them in the same hand-over, and after a restart", () => {
    const hooks = withHanging(50);
    hooks.publish(...Array.from({ length: 5 }, () => hooks.event()), hooks.event({ type: "job.failed" }));
    expect(hooks.open.filter((one) => one.url === url("quick"))).toHaveLength(1);
    hooks.kill();
    expect(hooks.open.filter((one) => one.url === url("quick"))).toHaveLength(1);
    expect(hooks.open).toHaveLength(51);
  });

  it("is asked at once while those that have failed before hang again", () => {
    const hooks = withHanging(WEBHOOKS_PER_WORKSPACE_MAX - 1);
    hooks.publish(...Array.from({ length: 5 }, () => hooks.event()));
    while (hooks.sent.length < 3 * WEBHOOKS_PER_WORKSPACE_MAX) {
      if (hooks.open.length === 0) hooks.untilSent(86_400_000);
      else endOldest(hooks);
    }
    expect(hooks.open).not.toEqual([]);
    hooks.publish(hooks.event({ type: "job.failed" }));
    expect(hooks.open.filter((one) => one.url === url("quick"))).toHaveLength(1);
  });

  it("is one of sixty that are asked at once while hundreds of origins that have failed before hang", () => {
    const hooks = withHanging(0);
    const own = (name: string) => hooks.event({ type: "job.succeeded", url: url(name) });
    hooks.publish(...Array.from({ length: 200 }, (_, index) => own(`fails-${index}`)));
    hooks.settle(() => answered(500));
    hooks.pass(6_100);
    expect(hooks.open).toHaveLength(FAILING_SENDS_MAX);
    const fresh = Array.from({ length: 59 }, (_, index) => own(`new-${index}`));
    hooks.publish(...fresh, hooks.event({ type: "job.failed" }));
    expect(hooks.open).toHaveLength(FAILING_SENDS_MAX + 60);
  });

  it("has its turn after as many ends as there are connections too few, when 300 origins of single jobs hang", () => {
    const hooks = withHanging(0);
    const own = (name: string) => hooks.event({ type: "job.succeeded", url: url(name) });
    hooks.publish(...Array.from({ length: 300 }, (_, index) => own(`hangs-${index}`)));
    expect(hooks.open).toHaveLength(DOUBTFUL_SENDS_MAX);
    hooks.publish(hooks.event({ type: "job.failed" }));
    let ends = 0;
    while (!hooks.open.some((one) => one.url === url("quick"))) {
      endOldest(hooks);
      ends += 1;
      // What has failed comes back meanwhile, and may not push before those that were never asked.
      hooks.pass(1_000);
      expect(ends).toBeLessThanOrEqual(300 - DOUBTFUL_SENDS_MAX + 1);
    }
    expect(ends).toBeGreaterThan(0);
  });
});

describe("connections", () => {
  it("of one object are never more than six, whatever hangs", () => {
    const hooks = withHanging(0);
    const own = (name: string) => hooks.event({ type: "job.succeeded", url: url(name) });
    hooks.publish(...Array.from({ length: 300 }, (_, index) => own(`hangs-${index}`)));
    for (let step = 0; step < 400; step += 1) {
      const used = inUse(hooks);
      for (const [courier, count] of used) {
        expect(count).toBeLessThanOrEqual(CONNECTIONS_PER_OBJECT);
        if (courier !== null) expect(courier).toBeLessThanOrEqual(COURIERS_MAX);
      }
      // One is given up each 200 ms, which others of the 300 follow; a try lasts 15 s at most.
      if (hooks.open.length > 0) endOldest(hooks);
      while (hooks.now - (hooks.open[0]?.startedAt ?? hooks.now) >= 15_000) endOldest(hooks);
      hooks.pass(200);
    }
  });

  it("of the workspace's own object are for those that answer quickly; nobody else is asked by it", () => {
    const hooks = withHanging(20);
    hooks.publish(hooks.event({ type: "job.failed" }));
    expect(hooks.open.map(({ courier }) => courier)).toEqual([1]);
    hooks.settle(() => OK);
    hooks.publish(hooks.event(), hooks.event({ type: "job.failed" }));
    const own = hooks.open.filter(({ courier }) => courier === null);
    expect(own.map((one) => one.url)).toEqual([url("quick")]);
    // As few couriers as can be.
    const couriers = [...inUse(hooks)].filter(([courier]) => courier !== null);
    expect(couriers.toSorted()).toEqual([
      [1, 6],
      [2, 6],
      [3, 6],
      [4, 2],
    ]);
  });

  it("that those who were quick keep busy, now that they hang, are not missed: couriers ask the others", () => {
    const hooks = new WebhooksHarness();
    for (let index = 0; index < 6; index += 1) hooks.subscribe(["job.succeeded"], { url: url(`was-quick-${index}`) });
    hooks.subscribe(["job.failed"], { url: url("quick") });
    hooks.publish(hooks.event(), hooks.event({ type: "job.failed" }));
    hooks.settle(() => OK);
    hooks.publish(hooks.event());
    expect([...inUse(hooks)]).toEqual([[null, 6]]);
    hooks.pass(2_100);
    hooks.publish(hooks.event(), hooks.event({ type: "job.failed" }));
    // Those that hang get no second message, and the one that answers gets its own.
    expect(hooks.open).toHaveLength(7);
    expect(hooks.open.find((one) => one.url === url("quick"))?.courier).toBe(1);
  });
});

describe("an origin that single jobs of many owners post to", () => {
  const at = (path: string) => `https://shared.example.com/${path}`;
  const toPath = (hooks: WebhooksHarness, path: string) => hooks.event({ url: at(path) });
  const pathsOf = (hooks: WebhooksHarness) => hooks.open.map((one) => new URL(one.url).pathname.slice(1)).toSorted();

  it("is asked for one owner at once though fifty messages for another, who hangs, were there before", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(...Array.from({ length: 50 }, () => toPath(hooks, "hangs")));
    hooks.publish(toPath(hooks, "hangs"));
    expect(pathsOf(hooks)).toEqual(["hangs"]);
    hooks.publish(toPath(hooks, "quick"));
    expect(pathsOf(hooks)).toEqual(["hangs", "quick"]);
  });

  it("is asked for six at once, and for six more once these hang; no try has to end first", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(...Array.from({ length: 20 }, (_, index) => toPath(hooks, `hangs-${index}`)));
    hooks.publish(toPath(hooks, "quick"));
    expect(hooks.open).toHaveLength(6);
    // What is waited for is the alarm alone.
    for (let alarms = 0; !pathsOf(hooks).includes("quick"); alarms += 1) {
      expect(alarms).toBeLessThan(3);
      hooks.pass((hooks.armedAt ?? Number.POSITIVE_INFINITY) - hooks.now);
    }
    for (const sending of hooks.open) expect(hooks.now - sending.startedAt).toBeLessThan(15_000);
    hooks.pass(14_000 - (hooks.now - (hooks.open[0]?.startedAt ?? 0)));
    expect(hooks.open).toHaveLength(21);
  });

  it("has never more than thirty tries on their way", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(...Array.from({ length: 200 }, (_, index) => toPath(hooks, `hangs-${index}`)));
    hooks.pass(14_500);
    expect(hooks.open).toHaveLength(30);
  });

  it("gets at most two messages at once for one URL when it has answered, and none beside one that hangs", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(toPath(hooks, "a"));
    hooks.settle(() => OK);
    hooks.publish(...["a", "a", "a", "b"].map((path) => toPath(hooks, path)));
    expect(pathsOf(hooks)).toEqual(["a", "a", "b"]);
    for (const sending of hooks.open.slice(1)) hooks.answer(sending, OK);
    expect(pathsOf(hooks)).toEqual(["a", "a"]);
    hooks.pass(2_100);
    hooks.publish(...["a", "b"].map((path) => toPath(hooks, path)));
    expect(pathsOf(hooks)).toEqual(["a", "a", "b"]);
  });

  it("sends what is due later in its time, also beside one that hangs", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(toPath(hooks, "fails"));
    hooks.settle(() => answered(500));
    hooks.publish(...Array.from({ length: 5 }, () => toPath(hooks, "hangs")));
    expect(pathsOf(hooks)).toEqual(["hangs", "hangs"]);
    hooks.pass(6_100);
    expect(pathsOf(hooks)).toEqual(["fails", "hangs", "hangs"]);
  });

  it("whose breaker is open is asked one message at a time, whatever its URL", () => {
    const hooks = new WebhooksHarness();
    for (let count = 0; count < 5; count += 1) {
      hooks.publish(toPath(hooks, `fails-${count}`));
      hooks.settle(() => answered(500));
    }
    hooks.publish(...Array.from({ length: 9 }, (_, index) => toPath(hooks, `more-${index}`)));
    expect(hooks.open).toEqual([]);
    hooks.pass(6_100);
    expect(hooks.open).toHaveLength(1);
    hooks.pass(10_000);
    expect(hooks.open).toHaveLength(1);
  });
});
