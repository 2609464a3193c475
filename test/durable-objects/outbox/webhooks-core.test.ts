import { describe, expect, it, vi } from "vitest";
import type { DeliveryId } from "#contract/ids";
import { DELIVERY_RETENTION_DAYS, LISTEN_LOST_MS, WEBHOOK_RETRY_DELAYS_S } from "#contract/limits";
import { eventMessageId } from "#durable-objects/outbox/message-id";
import type { TryResult } from "#durable-objects/outbox/outcome";
import { FAILING_SENDS_MAX } from "#durable-objects/webhooks/send-order";
import { WebhooksCore } from "#durable-objects/webhooks/webhooks-core";
import { answered, NO_ANSWER, OK, WebhooksHarness } from "#test/durable-objects/outbox/webhooks-harness";
import { NodeDatabase } from "#test/durable-objects/queue/node-database";

const DAY_MS = 86_400_000;
const url = (name: string) => `https://${name}.example.com/hook`;

describe("an event", () => {
  it("goes to each subscription that wants it, and to the job's own URL, under one id", () => {
    const hooks = new WebhooksHarness();
    const a = hooks.subscribe(["job.succeeded"], { url: url("a") });
    hooks.subscribe(["job.failed"], { url: url("b") });
    const c = hooks.subscribe(["job.succeeded"], { url: url("c"), endpointId: hooks.endpointId });
    hooks.subscribe(["job.succeeded"], { url: url("d"), endpointId: hooks.freshEndpoint() });
    const event = hooks.event({ url: url("job") });
    hooks.publish(event);
    expect(hooks.sent.map((one) => one.url).toSorted()).toEqual([url("a"), url("c"), url("job")]);
    expect(new Set(hooks.sent.map(({ messageId }) => messageId))).toEqual(new Set([event.messageId]));
    expect(new Set(hooks.sent.map(({ body }) => body)).size).toBe(1);
    hooks.settle(() => OK);
    const jobs = hooks.log(null, { jobId: event.jobId });
    expect(jobs.deliveries.map(({ state }) => state)).toEqual(["delivered", "delivered", "delivered"]);
    expect(jobs.deliveries.map(({ webhook_id }) => webhook_id).toSorted()).toEqual([a, c, null].toSorted());
  });

  it("that is handed over twice is one message", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    const event = hooks.event();
    hooks.publish(event);
    hooks.publish(event, event);
    hooks.settle(() => OK);
    hooks.publish(event);
    expect(hooks.sent).toHaveLength(1);
    expect(hooks.log(id).deliveries).toHaveLength(1);
  });

  it("that nobody wants leaves nothing behind", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe(["job.failed"]);
    hooks.publish(hooks.event());
    expect(hooks.db.exec("SELECT count(*) AS n FROM messages")).toEqual([{ n: 0 }]);
  });
});

describe("a delivery that fails", () => {
  it("is tried ten times over three days, then failed for good", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    hooks.live(4 * DAY_MS, () => answered(500));
    const [delivery] = hooks.log(id).deliveries;
    expect(delivery).toMatchObject({ state: "failed", next_try_at: null });
    expect(hooks.sent).toHaveLength(10);
    const gaps = hooks.sent.slice(1).map((one, index) => (one.at - (hooks.sent[index]?.at ?? 0)) / 1_000);
    for (const [index, seconds] of WEBHOOK_RETRY_DELAYS_S.entries()) {
      expect(gaps[index]).toBeGreaterThanOrEqual(seconds * 0.8);
      expect(gaps[index]).toBeLessThanOrEqual(seconds * 1.2 + 0.001);
    }
    expect(new Set(hooks.sent.map(({ messageId }) => messageId)).size).toBe(1);
    expect(new Set(hooks.sent.map(({ body }) => body)).size).toBe(1);
  });

  it("keeps what came back, of every try", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    const results: TryResult[] = [answered(301), NO_ANSWER, answered(200, { answer: "thanks" })];
    for (const result of results) {
      if (hooks.open.length === 0) hooks.untilSent(400_000);
      hooks.settle(() => result);
    }
    const [delivery] = hooks.log(id).deliveries;
    expect(delivery?.state).toBe("delivered");
    expect(delivery?.tries.map(({ status, error, answer }) => [status, error, answer])).toEqual([
      [301, expect.stringContaining("redirects are not followed"), ""],
      [null, "No whole answer came within 15 seconds.", null],
      [200, null, "thanks"],
    ]);
  });

  it("with 410 disables the webhook, and the others hear of it", () => {
    const hooks = new WebhooksHarness();
    const gone = hooks.subscribe(["job.succeeded", "webhook.disabled"], { url: url("gone") });
    const other = hooks.subscribe(["webhook.disabled"], { url: url("other") });
    hooks.publish(hooks.event(), hooks.event(), hooks.event());
    hooks.settle((sending) => (sending.url === url("gone") ? answered(410) : OK));
    expect(hooks.webhook(gone)).toMatchObject({ state: "disabled", disabled_reason: expect.stringContaining("410") });
    expect(hooks.log(gone).deliveries.map(({ state }) => state)).toEqual(["failed", "failed", "failed"]);
    const [news] = hooks.log(other).deliveries;
    expect(news).toMatchObject({ event: "webhook.disabled", state: "delivered" });
    expect(JSON.parse(news?.body ?? "")).toMatchObject({ type: "webhook.disabled", data: { id: gone } });
    hooks.publish(hooks.event());
    expect(hooks.open).toEqual([]);
  });

  it("with 410 at a job's own URL ends what there is for that job, and for no other", () => {
    const hooks = new WebhooksHarness();
    const first = hooks.event({ url: url("job") });
    const { jobId } = first;
    const more = (number: number, place = "job") =>
      hooks.event({ url: url(place), jobId, messageId: eventMessageId(jobId, number) });
    // The second waits behind the first.
    hooks.publish(first, more(5));
    expect(hooks.open).toHaveLength(1);
    hooks.settle(() => answered(410));
    expect(hooks.log("default").deliveries.map(({ state }) => state)).toEqual(["failed", "failed"]);
    expect(hooks.log("default").deliveries.at(-1)).toMatchObject({ tries: [{ status: 410 }] });

    hooks.publish(more(6));
    expect(hooks.open).toEqual([]);
    expect(hooks.log("default").deliveries).toHaveLength(2);
    hooks.publish(more(7, "elsewhere"), hooks.event({ url: url("job") }));
    expect(hooks.open).toHaveLength(2);
    hooks.settle(() => OK);

    // Who takes a message again by hand wants the next ones, too.
    const again = hooks.log("default").deliveries.find(({ state }) => state === "failed");
    if (again === undefined) throw new Error("nothing has failed");
    hooks.must((core) => core.redeliver(hooks.workspaceId, "default", again.id));
    hooks.settle(() => OK);
    hooks.publish(more(8));
    expect(hooks.open).toHaveLength(1);
  });

  it("with 410 at a job's own URL is remembered for as long as the log", () => {
    const hooks = new WebhooksHarness();
    const first = hooks.event({ url: url("job") });
    const { jobId } = first;
    const more = (number: number) =>
      hooks.event({ url: url("job"), jobId, messageId: eventMessageId(jobId, number), at: hooks.now });
    hooks.publish(first);
    hooks.settle(() => answered(410));
    hooks.live((DELIVERY_RETENTION_DAYS - 1) * DAY_MS, () => OK);
    hooks.publish(more(5));
    expect(hooks.open).toEqual([]);
    hooks.live(2 * DAY_MS, () => OK);
    hooks.publish(more(6));
    expect(hooks.open).toHaveLength(1);
  });

  it("disables a webhook that has failed for five days; enabled and recovered, nothing is lost", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { url: url("dead") });
    const other = hooks.subscribe(["webhook.disabled"], { url: url("other") });
    const since = hooks.now;
    const events = [];
    for (let hour = 0; hour < 5 * 24 + 2 && hooks.webhook(id).state === "enabled"; hour += 1) {
      const event = hooks.event();
      events.push(event);
      hooks.publish(event);
      hooks.live(3_600_000, (sending) => (sending.url === url("other") ? OK : answered(500)));
    }
    const disabled = hooks.webhook(id);
    expect(disabled).toMatchObject({ state: "disabled", disabled_reason: expect.stringContaining("5 days") });
    const days = (Date.parse(disabled.disabled_at ?? "") - Date.parse(disabled.failing_since ?? "")) / DAY_MS;
    expect(days).toBeGreaterThanOrEqual(5);
    expect(days).toBeLessThan(5.2);
    expect(hooks.log(other).deliveries).toHaveLength(1);
    expect(new Set(hooks.log(id).deliveries.map(({ state }) => state))).toEqual(new Set(["failed"]));

    const refused = hooks.call((core) => core.recover(hooks.workspaceId, id, since));
    expect(refused).toMatchObject({ ok: false, code: "webhook_disabled" });
    hooks.must((core) => core.patch(hooks.workspaceId, id, { state: "enabled" }));
    const { recovered } = hooks.must((core) => core.recover(hooks.workspaceId, id, since));
    expect(recovered).toBe(events.length);
    const delivered = new Set<string>();
    hooks.settle((sending) => {
      delivered.add(sending.messageId);
      return OK;
    });
    expect(delivered).toEqual(new Set(events.map(({ messageId }) => messageId)));
  });
});

describe("a destination that asks for a pause", () => {
  it("gets nothing before it is over, and everything after it", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe();
    // One that has answered before gets two at once.
    hooks.publish(hooks.event());
    hooks.settle(() => OK);
    hooks.publish(hooks.event(), hooks.event());
    const [first, second] = hooks.open;
    if (first === undefined || second === undefined) throw new Error("two at once");
    hooks.answer(second, OK);
    hooks.answer(first, answered(429, { retryAfter: "120" }));
    hooks.publish(hooks.event());
    hooks.pass(119_000);
    expect(hooks.open).toEqual([]);
    hooks.pass(2_000);
    expect(hooks.open).toHaveLength(2);
  });
});

describe("a receiver that hangs", () => {
  it("delays nobody else: 50 messages of its own wait while another's all arrive", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe(["job.succeeded"], { url: url("hangs") });
    hooks.subscribe(["job.failed"], { url: url("quick") });
    hooks.publish(...Array.from({ length: 50 }, () => hooks.event()));
    hooks.publish(...Array.from({ length: 50 }, () => hooks.event({ type: "job.failed" })));
    const started = hooks.now;
    const quick: number[] = [];
    // What hangs is answered by nothing but its own deadline, 15 s on.
    for (let step = 0; step < 600; step += 1) {
      for (const sending of [...hooks.open]) {
        if (sending.url === url("quick")) {
          hooks.answer(sending, OK);
          quick.push(hooks.now - started);
        } else if (hooks.now - sending.startedAt >= 15_000) hooks.answer(sending, NO_ANSWER);
      }
      hooks.pass(100);
    }
    expect(quick).toHaveLength(50);
    expect(Math.max(...quick)).toBeLessThan(3_000);
    const hanging = hooks.sent.filter((one) => one.url === url("hangs"));
    expect(hanging.length).toBeGreaterThan(3);
    expect(hanging.length).toBeLessThan(8);
  });

  it("leaves room for others even when eighty of them have failed", () => {
    const hooks = new WebhooksHarness();
    for (let index = 0; index < 80; index += 1) hooks.subscribe(["job.succeeded"], { url: url(`hangs-${index}`) });
    hooks.subscribe(["job.failed"], { url: url("quick") });
    hooks.publish(...Array.from({ length: 5 }, () => hooks.event()));
    expect(hooks.open).toHaveLength(80);
    for (let step = 0; step < 600; step += 1) {
      for (const sending of [...hooks.open]) {
        if (hooks.now - sending.startedAt >= 15_000) hooks.answer(sending, NO_ANSWER);
      }
      hooks.pass(100);
      // From the second round on it is known that they fail: together they have less than half of the places.
      if (step < 320) continue;
      expect(hooks.open.length).toBeLessThanOrEqual(FAILING_SENDS_MAX);
      if (step % 50 !== 0) continue;
      hooks.publish(hooks.event({ type: "job.failed" }));
      const mine = hooks.open.filter((one) => one.url === url("quick"));
      expect(mine).toHaveLength(1);
      for (const sending of mine) hooks.answer(sending, OK);
    }
  });

  it("delays nobody who answers quickly, however many of them hang at once and for the first time", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe(["job.failed"], { url: url("quick") });
    hooks.publish(hooks.event({ type: "job.failed" }));
    hooks.settle(() => OK);
    for (let index = 0; index < 50; index += 1) hooks.subscribe(["job.succeeded"], { url: url(`hangs-${index}`) });
    hooks.publish(...Array.from({ length: 5 }, () => hooks.event()));
    for (let step = 0; step < 300; step += 1) {
      for (const sending of [...hooks.open]) {
        if (hooks.now - sending.startedAt >= 15_000) hooks.answer(sending, NO_ANSWER);
      }
      hooks.pass(100);
      expect(hooks.open.length).toBeLessThanOrEqual(50);
      hooks.publish(hooks.event({ type: "job.failed" }), hooks.event({ type: "job.failed" }));
      const mine = hooks.open.filter((one) => one.url === url("quick"));
      expect(mine).toHaveLength(2);
      for (const sending of mine) hooks.answer(sending, OK);
    }
  });

  it("gets no second message before it has answered the first", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe();
    hooks.publish(hooks.event(), hooks.event(), hooks.event());
    expect(hooks.open).toHaveLength(1);
    hooks.settle(() => OK);
    expect(hooks.sent).toHaveLength(3);
    hooks.publish(hooks.event(), hooks.event(), hooks.event());
    expect(hooks.open).toHaveLength(2);
    // After a restart nobody knows how it is.
    hooks.kill();
    expect(hooks.open).toHaveLength(1);
  });

  it("after it was quick no longer counts as such once it lets somebody wait", () => {
    const hooks = new WebhooksHarness();
    const names = ["a", "b", "c", "d", "e"];
    for (const name of names) hooks.subscribe(["job.succeeded"], { url: url(name) });
    hooks.publish(hooks.event());
    hooks.settle(() => OK);
    hooks.publish(hooks.event());
    // Five of them are asked, and from now on all of them hang.
    expect(hooks.open).toHaveLength(5);
    hooks.pass(2_100);
    hooks.publish(hooks.event());
    expect(hooks.open).toHaveLength(5);
  });

  it("is asked one message at a time after five failures, and all of them when it is back", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(...Array.from({ length: 20 }, () => hooks.event()));
    hooks.settle(() => answered(500));
    expect(hooks.sent.length).toBeGreaterThanOrEqual(5);
    expect(hooks.sent.length).toBeLessThanOrEqual(6);
    const before = hooks.sent.length;
    hooks.pass(6_100);
    expect(hooks.sent.length).toBe(before + 1);
    hooks.settle(() => OK);
    // The probe arrived: what has not failed yet follows at once, the rest when its time comes.
    hooks.live(10_000, () => OK);
    expect(hooks.log(id, { state: "pending" }).deliveries).toEqual([]);
    expect(hooks.webhook(id).failing_since).toBeNull();
  });
});

describe("two destinations of single jobs", () => {
  it("are not held up by hundreds of dead ones", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(
      ...Array.from({ length: 200 }, (_, index) => hooks.event({ url: `https://dead-${index}.example.com/` })),
    );
    hooks.settle(() => answered(500));
    expect(hooks.sent).toHaveLength(200);
    for (let round = 0; round < 14; round += 1) {
      hooks.pass(1_000);
      expect(hooks.open.length).toBeLessThanOrEqual(FAILING_SENDS_MAX);
      hooks.publish(hooks.event({ url: "https://alive.example.com/" }));
      const alive = hooks.open.filter((one) => one.url === "https://alive.example.com/");
      expect(alive).toHaveLength(1);
      for (const sending of alive) hooks.answer(sending, OK);
    }
  });

  it("are told apart by their origins", () => {
    const hooks = new WebhooksHarness();
    for (let count = 0; count < 6; count += 1) {
      hooks.publish(hooks.event({ url: `https://dead.example.com/${count}` }));
      hooks.settle(() => answered(500));
    }
    const sent = hooks.sent.length;
    hooks.publish(hooks.event({ url: "https://dead.example.com/another" }));
    expect(hooks.sent).toHaveLength(sent);
    hooks.publish(hooks.event({ url: "https://alive.example.com/" }));
    expect(hooks.open).toHaveLength(1);
  });
});

describe("a server that is killed", () => {
  it("sends again what was on its way, and says so in the log", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    hooks.kill();
    expect(hooks.open).toHaveLength(1);
    hooks.settle(() => OK);
    const [delivery] = hooks.log(id).deliveries;
    expect(delivery).toMatchObject({
      state: "delivered",
      tries: [{ status: null, error: expect.stringContaining("restarted") }, { status: 204 }],
    });
    expect(new Set(hooks.sent.map(({ messageId }) => messageId)).size).toBe(1);
  });

  it.each(Array.from({ length: 20 }, (_, index) => index + 1))(
    "loses nothing, however often and whenever, seed %i",
    (seed) => {
      const hooks = new WebhooksHarness(seed);
      let state = seed * 2_654_435_761;
      const dice = (sides: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return (state >>> 8) % sides;
      };
      const names = ["a", "b", "c"];
      for (const name of names) hooks.subscribe(["job.succeeded"], { url: url(name) });
      const arrived = new Map(names.map((name) => [url(name), new Set<string>()]));
      const events: string[] = [];
      for (let step = 0; step < 300; step += 1) {
        const action = dice(10);
        if (action < 2 && events.length < 40) {
          const event = hooks.event();
          events.push(event.messageId);
          hooks.publish(event);
          if (dice(4) === 0) hooks.publish(event);
        } else if (action < 8) {
          const sending = hooks.open[dice(Math.max(1, hooks.open.length))];
          if (sending === undefined) hooks.pass(dice(60_000));
          else {
            const good = dice(3) > 0;
            if (good || dice(2) === 0) arrived.get(sending.url)?.add(sending.messageId);
            hooks.answer(sending, good ? OK : dice(2) === 0 ? NO_ANSWER : answered(503));
          }
        } else if (action === 8) hooks.pass(dice(600_000));
        else hooks.kill();
      }
      hooks.live(4 * DAY_MS, (sending) => {
        arrived.get(sending.url)?.add(sending.messageId);
        return OK;
      });
      for (const name of names) expect(arrived.get(url(name)), name).toEqual(new Set(events));
      const states = hooks.db.exec("SELECT DISTINCT state FROM deliveries");
      expect(states).toEqual(events.length === 0 ? [] : [{ state: "delivered" }]);
      expect(hooks.db.exec("SELECT count(*) AS n FROM trying")).toEqual([{ n: 0 }]);
    },
  );

  it("does not take a lost try's late outcome for the next one's", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    const [lost] = hooks.open;
    if (lost === undefined) throw new Error("nothing was sent");
    hooks.now += 10;
    hooks.kill();
    hooks.call((core) => core.tried(lost.deliveryId, lost.startedAt, OK));
    expect(hooks.log(id).deliveries[0]?.state).toBe("pending");
  });

  it("has an alarm while anything is on its way", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe();
    hooks.publish(hooks.event());
    expect(hooks.armedAt).not.toBeNull();
    expect((hooks.armedAt ?? 0) - hooks.now).toBeLessThanOrEqual(30_000);
  });
});

describe("asking for a message again", () => {
  it("sends it at once under its own id, before all others, and closed breakers do not hold it up", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    hooks.settle(() => OK);
    const [first] = hooks.log(id).deliveries;
    if (first === undefined) throw new Error("no delivery");
    hooks.publish(...Array.from({ length: 8 }, () => hooks.event()));
    hooks.settle(() => answered(500));
    expect(hooks.open).toEqual([]);
    hooks.must((core) => core.redeliver(hooks.workspaceId, id, first.id));
    expect(hooks.open.map(({ messageId }) => messageId)).toEqual([first.message_id]);
    hooks.settle(() => OK);
    expect(hooks.log(id, { state: "delivered" }).deliveries.find((one) => one.id === first.id)?.tries).toHaveLength(2);
  });

  it("recovers what failed since a moment, and what waits for its next try", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    hooks.live(4 * DAY_MS, () => answered(500));
    expect(hooks.log(id).deliveries[0]?.state).toBe("failed");
    const since = hooks.now;
    hooks.publish(hooks.event());
    hooks.settle(() => answered(500));
    const recover = (from: number) => hooks.must((core) => core.recover(hooks.workspaceId, id, from)).recovered;
    expect(recover(since)).toBe(1);
    hooks.settle(() => OK);
    expect(recover(since)).toBe(0);
    expect(recover(0)).toBe(1);
    hooks.settle(() => OK);
    expect(hooks.log(id).deliveries.map(({ state }) => state)).toEqual(["delivered", "delivered"]);
  });

  it("recovers what is due and only waits for a closed breaker, once", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    const own = { url: "https://own.example.com/" };
    hooks.publish(...Array.from({ length: 10 }, () => hooks.event(own)));
    hooks.live(60_000, () => answered(500));
    // Both are closed for minutes yet, and all that has failed is overdue.
    expect(hooks.open).toEqual([]);
    const since = hooks.now - 60_000;
    for (const source of [id, "default"] as const) {
      const sent = hooks.sent.length;
      const { recovered } = hooks.must((core) => core.recover(hooks.workspaceId, source, since));
      expect(recovered).toBeGreaterThan(0);
      expect(hooks.sent).toHaveLength(sent + 1);
      expect(hooks.must((core) => core.recover(hooks.workspaceId, source, since)).recovered).toBe(0);
      hooks.settle(() => OK);
      expect(hooks.log(source, { state: "delivered" }).deliveries).toHaveLength(10);
    }
  });

  it("tries a webhook out, whatever it is subscribed to", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.failed"]);
    const { delivery } = hooks.must((core) => core.test(hooks.workspaceId, id, "job.succeeded"));
    expect(delivery).toMatchObject({ event: "job.succeeded", state: "pending", job_id: null });
    expect(delivery.message_id).toMatch(/^msg_test_[0-9a-z]{26}$/);
    expect(hooks.open.map(({ body }) => JSON.parse(body).data.test)).toEqual([true]);
  });
});

describe("what was disabled or deleted", () => {
  it("by request keeps its pending messages as failed", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    hooks.settle(() => OK);
    hooks.publish(...Array.from({ length: 4 }, () => hooks.event()));
    hooks.must((core) => core.patch(hooks.workspaceId, id, { state: "disabled" }));
    expect(hooks.log(id, { state: "failed" }).deliveries).toHaveLength(4);
    expect(hooks.call((core) => core.test(hooks.workspaceId, id, "webhook.test"))).toMatchObject({
      code: "webhook_disabled",
    });
    // A try that was on its way may still arrive.
    hooks.settle(() => OK);
    expect(hooks.log(id, { state: "delivered" }).deliveries).toHaveLength(3);
  });

  it("by deletion has its pending messages discarded, and the job's log still shows them", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    const event = hooks.event();
    hooks.publish(event);
    hooks.must((core) => core.remove(hooks.workspaceId, id));
    hooks.settle(() => answered(500));
    expect(hooks.log(null, { jobId: event.jobId }).deliveries[0]).toMatchObject({
      state: "discarded",
      tries: [{ status: 500 }],
    });
    expect(hooks.call((core) => core.get(hooks.workspaceId, id))).toMatchObject({ code: "webhook_not_found" });
  });

  it("moves to a new address with its pending messages", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { url: url("old") });
    hooks.publish(hooks.event());
    hooks.settle(() => answered(404));
    hooks.must((core) => core.patch(hooks.workspaceId, id, { url: url("new") }));
    hooks.pass(7_000);
    expect(hooks.open.map((one) => one.url)).toEqual([url("new")]);
    expect(hooks.log(id).deliveries[0]?.url).toBe(url("new"));
  });
});

describe("an alarm", () => {
  it("rings four times a second at most, however many retries lie a moment apart", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(
      ...Array.from({ length: 300 }, (_, index) => hooks.event({ url: `https://dead-${index}.example.com/` })),
    );
    hooks.settle(() => answered(500));
    const until = hooks.now + 8_000;
    let rings = 0;
    while (hooks.armedAt !== null && hooks.armedAt <= until) {
      hooks.pass(hooks.armedAt - hooks.now);
      hooks.settle(() => answered(500));
      rings += 1;
    }
    expect(hooks.sent).toHaveLength(600);
    expect(rings).toBeGreaterThan(4);
    expect(rings).toBeLessThanOrEqual(32);
  });
});

describe("where single jobs post to", () => {
  it("is given up after five days: what is pending has failed and can be recovered, what comes is tried anew", () => {
    const hooks = new WebhooksHarness();
    const dead = "https://dead.example.com/";
    const since = hooks.now;
    const events = Array.from({ length: 40 }, () => hooks.event({ url: dead }));
    hooks.publish(...events);
    hooks.live(4.9 * DAY_MS, () => answered(500));
    expect(hooks.log("default", { state: "pending" }).deliveries.length).toBeGreaterThan(0);
    hooks.live(0.3 * DAY_MS, () => answered(500));
    expect(hooks.log("default", { state: "failed" }).deliveries).toHaveLength(40);
    hooks.publish(hooks.event({ url: dead }));
    hooks.live(3_600_000, () => answered(500));
    expect(hooks.log("default", { state: "pending" }).deliveries).toHaveLength(1);
    const { recovered } = hooks.must((core) => core.recover(hooks.workspaceId, "default", since));
    expect(recovered).toBe(41);
    hooks.settle(() => OK);
    expect(hooks.log("default", { state: "delivered" }).deliveries).toHaveLength(41);
    expect(hooks.db.exec("SELECT * FROM destinations")).toEqual([]);
  });

  it("is forgotten with its messages", () => {
    const hooks = new WebhooksHarness();
    hooks.publish(hooks.event({ url: "https://dead.example.com/" }));
    hooks.live(29 * DAY_MS, () => answered(500));
    expect(hooks.db.exec("SELECT * FROM destinations")).toHaveLength(1);
    hooks.live(2 * DAY_MS, () => answered(500));
    expect(hooks.db.exec("SELECT * FROM destinations")).toEqual([]);
  });
});

describe("a listening command", () => {
  it("is there while its program takes its time for a page of messages", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { kind: "listen" });
    hooks.publish(...Array.from({ length: 20 }, () => hooks.event()));
    const { messages } = hooks.must((core) => core.listen(hooks.workspaceId, id));
    expect(messages).toHaveLength(20);
    for (const { delivery } of messages) {
      hooks.pass(15_000);
      hooks.publish(hooks.event());
      const report = { status: null, ms: 15_000, error: "The program stands at a breakpoint.", answer: null };
      hooks.must((core) => core.report(hooks.workspaceId, id, delivery.id, report));
    }
    expect(hooks.log(id, { state: "discarded" }).deliveries).toEqual([]);
    expect(hooks.must((core) => core.listen(hooks.workspaceId, id)).messages).toHaveLength(20);
  });

  it("is not believed when it says that its program took longer than time itself", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { kind: "listen" });
    hooks.publish(hooks.event());
    const [message] = hooks.must((core) => core.listen(hooks.workspaceId, id)).messages;
    if (message === undefined) throw new Error("no message");
    const report = { status: 200, ms: Number.MAX_SAFE_INTEGER, error: null, answer: null };
    const { delivery } = hooks.must((core) => core.report(hooks.workspaceId, id, message.delivery.id, report));
    expect(delivery).toMatchObject({ state: "delivered", tries: [{ ms: 3_600_000 }] });
  });

  it("fetches messages, reports, and gets what it did not report again", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { kind: "listen" });
    const fetched = () => hooks.must((core) => core.listen(hooks.workspaceId, id)).messages;
    expect(fetched()).toEqual([]);
    hooks.publish(hooks.event());
    expect(hooks.listened).toEqual([id]);
    expect(hooks.open).toEqual([]);
    const [message] = fetched();
    if (message === undefined) throw new Error("no message");
    expect(fetched()).toEqual([]);
    hooks.pass(30_000);
    expect(fetched().map(({ delivery }) => delivery.id)).toEqual([message.delivery.id]);
    const report = { status: 200, ms: 12, error: null, answer: "ok" };
    const { delivery } = hooks.must((core) => core.report(hooks.workspaceId, id, message.delivery.id, report));
    expect(delivery).toMatchObject({ state: "delivered", tries: [{ status: 200, ms: 12, answer: "ok" }] });
    hooks.must((core) => core.report(hooks.workspaceId, id, message.delivery.id, { ...report, status: 500 }));
    expect(hooks.log(id).deliveries[0]).toMatchObject({ state: "delivered", tries: [{ status: 200 }] });
  });

  it("that is gone takes its subscription with it", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded"], { kind: "listen" });
    hooks.pass(LISTEN_LOST_MS - 1_000);
    hooks.must((core) => core.listen(hooks.workspaceId, id));
    hooks.pass(LISTEN_LOST_MS - 1_000);
    expect(hooks.webhook(id).state).toBe("enabled");
    hooks.pass(2_000);
    expect(hooks.call((core) => core.get(hooks.workspaceId, id))).toMatchObject({ code: "webhook_not_found" });
  });
});

describe("secrets", () => {
  const secret = (name: string) => ({ sealed: name, hint: name });
  it("are two while one takes the other's place, and one a day later", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    const live = () => hooks.core.secrets(hooks.workspaceId, id)?.map(({ sealed }) => sealed);
    hooks.must((core) => core.rotate(hooks.workspaceId, id, secret("second")));
    expect(live()).toEqual(["second", "sealed"]);
    hooks.pass(DAY_MS - 1);
    expect(live()).toEqual(["second", "sealed"]);
    hooks.must((core) => core.rotate(hooks.workspaceId, id, secret("third")));
    expect(live()).toEqual(["third", "second"]);
    hooks.pass(DAY_MS);
    expect(live()).toEqual(["third"]);
    hooks.pass(1_000);
    expect(hooks.db.exec("SELECT sealed FROM secrets")).toEqual([{ sealed: "third" }]);
  });

  it("of single jobs are made once", () => {
    const hooks = new WebhooksHarness();
    hooks.call((core) => core.putDefaultSecret(hooks.workspaceId, secret("one")));
    hooks.call((core) => core.putDefaultSecret(hooks.workspaceId, secret("two")));
    expect(hooks.core.secrets(hooks.workspaceId, "default")?.map(({ sealed }) => sealed)).toEqual(["one"]);
  });
});

describe("the interest", () => {
  it("is what each endpoint's subscribers want, and grows with every change", () => {
    const hooks = new WebhooksHarness();
    const other = hooks.freshEndpoint();
    const interest = (endpoint = hooks.endpointId) =>
      hooks.must((core) => core.register(hooks.workspaceId, endpoint)).interest;
    expect(interest().events).toEqual([]);
    const id = hooks.subscribe(["job.queued"], { endpointId: hooks.endpointId });
    hooks.subscribe(["job.failed", "webhook.disabled"]);
    expect(interest().events).toEqual(["job.failed", "job.queued", "webhook.disabled"]);
    expect(interest(other).events).toEqual(["job.failed", "webhook.disabled"]);
    const { version } = interest();
    hooks.must((core) => core.patch(hooks.workspaceId, id, { description: "another" }));
    expect(interest().version).toBe(version);
    hooks.must((core) => core.patch(hooks.workspaceId, id, { state: "disabled" }));
    expect(interest()).toEqual({ version: version + 1, events: ["job.failed", "webhook.disabled"] });
  });

  it("is told again until each endpoint has heard", () => {
    const hooks = new WebhooksHarness();
    hooks.must((core) => core.register(hooks.workspaceId, hooks.endpointId));
    expect(hooks.core.toTell()).toEqual([]);
    hooks.subscribe(["job.queued"]);
    const told = () =>
      hooks.core.toTell().map(({ endpointId, interest }) => ({ endpointId, version: interest.version }));
    const [first] = told();
    if (first === undefined) throw new Error("nobody is told");
    hooks.call((core) => core.told(first.endpointId, first.version, false));
    expect(told()).toEqual([]);
    const tells = hooks.tells;
    hooks.pass(1_000);
    expect(hooks.tells).toBeGreaterThan(tells);
    expect(told()).toEqual([first]);
    // It changed while it was told: what was heard is old.
    hooks.subscribe(["job.started"]);
    hooks.call((core) => core.told(first.endpointId, first.version, true));
    const [second] = told();
    expect(second?.version).toBe(first.version + 1);
    hooks.call((core) => core.told(first.endpointId, first.version + 1, true));
    expect(told()).toEqual([]);
  });
});

describe("the log", () => {
  it("is paged by a place that stays, and filtered", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe(["job.succeeded", "job.failed"]);
    for (let count = 0; count < 25; count += 1) {
      hooks.publish(hooks.event({ type: count % 5 === 0 ? "job.failed" : "job.succeeded" }));
      hooks.settle((sending) => (sending.body.includes("job.failed") ? answered(500) : OK));
      hooks.pass(2);
    }
    const seen: string[] = [];
    let before: { before?: DeliveryId } = {};
    for (let pages = 0; ; pages += 1) {
      const { deliveries, next } = hooks.log(id, { ...before, limit: 10 });
      seen.push(...deliveries.map((one) => one.id));
      hooks.publish(hooks.event());
      if (next === null) break;
      if (pages > 5) throw new Error("pages without end");
      before = { before: next };
    }
    expect(seen).toHaveLength(25);
    expect(seen).toEqual([...new Set(seen)].toSorted().toReversed());
    expect(hooks.log(id, { event: "job.failed" }).deliveries).toHaveLength(5);
    expect(hooks.log(id, { event: "job.failed", state: "delivered" }).deliveries).toEqual([]);
  });

  it("forgets after its retention, and the object sleeps", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(...Array.from({ length: 30 }, () => hooks.event()));
    hooks.settle(() => OK);
    hooks.pass(DELIVERY_RETENTION_DAYS * DAY_MS - 1_000);
    expect(hooks.log(id).deliveries).toHaveLength(30);
    hooks.pass(2_000);
    expect(hooks.log(id).deliveries).toEqual([]);
    expect(hooks.db.exec("SELECT count(*) AS n FROM messages")).toEqual([{ n: 0 }]);
    hooks.pass(DAY_MS);
    expect(hooks.armedAt).toBeNull();
  });
});

describe("a log that is full", () => {
  const RECEIVER_DOWN = "https://down.example.com/in";
  const bytesMax = 2_000_000;

  it("forgets what was delivered before its time, keeps what is pending, and takes events again", () => {
    const hooks = new WebhooksHarness(1, "", new NodeDatabase(bytesMax));
    const id = hooks.subscribe();
    const down = hooks.subscribe(["job.failed"], { url: RECEIVER_DOWN });
    const answer = ({ url }: { readonly url: string }) => (url === RECEIVER_DOWN ? answered(500) : OK);
    hooks.publish(...Array.from({ length: 10 }, () => hooks.event({ type: "job.failed" })));
    hooks.live(1_000, answer);
    let published = 0;
    const refusal = () => {
      for (; published < 5_000; published += 1) {
        const event = hooks.event({ data: JSON.stringify({ text: "t".repeat(1_000) }) });
        const reply = hooks.call((core) => core.accept(hooks.workspaceId, hooks.endpointId, [event]));
        if (!reply.ok) return reply.code;
        hooks.live(1_000, answer);
      }
      return null;
    };
    expect(refusal()).toBe("storage_full");
    const first = published;
    // Nothing is a day old.
    hooks.live(20 * 3_600_000, answer);
    expect(refusal()).toBe("storage_full");
    expect(published).toBe(first);
    hooks.live(6 * 3_600_000, answer);
    const [kept] = hooks.db.exec("SELECT count(*) AS n FROM messages");
    expect(kept?.n).toBeLessThan(first);
    expect(refusal()).toBe("storage_full");
    expect(published).toBeGreaterThan(first + 50);
    expect(hooks.log(down, { state: "pending" }).deliveries).toHaveLength(10);
    expect(hooks.log(id).deliveries.length).toBeGreaterThan(0);
    const orphans = "SELECT count(*) AS n FROM deliveries WHERE message NOT IN (SELECT number FROM messages)";
    expect(hooks.db.exec(orphans)).toEqual([{ n: 0 }]);
  }, 60_000);

  it("of what is pending rings its alarm no more than once a minute for it", () => {
    const hooks = new WebhooksHarness();
    hooks.subscribe();
    hooks.publish(hooks.event());
    // Long ago, and still on its way: delivered again by hand a moment before its time was over.
    hooks.db.exec("UPDATE messages SET created_at = created_at - ?", 2 * DELIVERY_RETENTION_DAYS * DAY_MS);
    hooks.kill();
    const wake = vi.spyOn(WebhooksCore.prototype, "wake");
    hooks.live(20 * 60_000, () => answered(503));
    expect(wake.mock.calls.length).toBeGreaterThan(1);
    expect(wake.mock.calls.length).toBeLessThan(30);
    wake.mockRestore();
    expect(hooks.db.exec("SELECT count(*) AS n FROM messages")).toEqual([{ n: 1 }]);
  });
});

describe("another workspace", () => {
  it("finds nothing here, and the answer is that of an unknown webhook", () => {
    const hooks = new WebhooksHarness();
    const id = hooks.subscribe();
    hooks.publish(hooks.event());
    const [delivery] = hooks.log(id).deliveries;
    const { workspaceId: stranger } = new WebhooksHarness(2);
    if (delivery === undefined) throw new Error("no delivery");
    const { core } = hooks;
    for (const reply of [
      core.get(stranger, id),
      core.patch(stranger, id, { state: "disabled" }),
      core.remove(stranger, id),
      core.test(stranger, id, "webhook.test"),
      core.deliveries(stranger, id, { limit: 10 }),
      core.delivery(stranger, id, delivery.id),
      core.redeliver(stranger, id, delivery.id),
      core.recover(stranger, id, 0),
      core.listen(stranger, id),
      core.rotate(stranger, id, { sealed: "x", hint: "x" }),
      core.accept(stranger, null, [hooks.event()]),
    ]) {
      expect(reply).toMatchObject({ ok: false, code: "webhook_not_found" });
    }
    expect(core.secrets(stranger, id)).toBeNull();
    expect(core.list(stranger)).toMatchObject({ webhooks: [] });
    expect(core.deliveries(stranger, null, { limit: 10 })).toMatchObject({ deliveries: [] });
  });
});
