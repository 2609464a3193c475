import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type EndpointId, JobId, type WorkspaceId } from "#contract/ids";
import { TAG_BYTES_MAX, TAGS_MAX, WEBHOOK_BODY_BYTES_MAX, WEBHOOK_RETRY_DELAYS_S } from "#contract/limits";
import { WebhookDisabled, WebhookEvent, WebhookJob, WebhookMessage, WebhookRelease } from "#contract/webhook";
import { afterTry, type DestinationHealth, HEALTHY, inFlightMax, isGivenUp } from "#durable-objects/outbox/breaker";
import { exampleData, type JobFacts, jobData, messageBody } from "#durable-objects/outbox/message-body";
import { failureText, outcomeOf, RETRY_AFTER_MS_MAX, retryAfterMs, THROTTLE_MS } from "#durable-objects/outbox/outcome";
import { retryDelayMs, TRIES_MAX } from "#durable-objects/outbox/schedule";
import { answered, NO_ANSWER } from "#test/durable-objects/outbox/webhooks-harness";

const NOW = 1_800_000_000_000;
const CHARS = "0dpx4n3m8k7q2wz6tgr1vyc5ha";
const WORKSPACE = `ws_${CHARS}` as WorkspaceId;

describe("the schedule", () => {
  it("has ten tries over 75 hours", () => {
    expect(TRIES_MAX).toBe(10);
    const middle = WEBHOOK_RETRY_DELAYS_S.map((_seconds, index) => retryDelayMs(index + 1, 0.5) ?? Number.NaN);
    expect(middle).toEqual(WEBHOOK_RETRY_DELAYS_S.map((seconds) => seconds * 1_000));
    expect(Math.floor(middle.reduce((sum, ms) => sum + ms, 0) / 3_600_000)).toBe(75);
    expect(retryDelayMs(10, 0.5)).toBeNull();
  });

  it("varies each delay by a fifth at most", () => {
    expect(retryDelayMs(1, 0)).toBe(4_000);
    expect(retryDelayMs(1, 1)).toBe(6_000);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.double({ min: 0, max: 1, noNaN: true }), (tries, jitter) => {
        const delay = retryDelayMs(tries, jitter) ?? 0;
        const exact = (WEBHOOK_RETRY_DELAYS_S[tries - 1] ?? 0) * 1_000;
        return Math.abs(delay - exact) <= exact * 0.2 + 1;
      }),
    );
  });
});

describe("an answer", () => {
  it.each([200, 201, 204, 299])("%i is a success", (status) => {
    expect(outcomeOf(answered(status), NOW)).toEqual({ type: "delivered" });
    expect(failureText(answered(status))).toBeNull();
  });

  it.each([199, 301, 302, 307, 308, 400, 404, 500])("%i is a failure like any other", (status) => {
    expect(outcomeOf(answered(status), NOW)).toEqual({ type: "failed", throttled: false, notBeforeMs: 0 });
    expect(failureText(answered(status))).toContain(String(status));
  });

  it("that does not come is a failure", () => {
    expect(outcomeOf(NO_ANSWER, NOW)).toMatchObject({ type: "failed", throttled: false });
  });

  it("410 ends it", () => {
    expect(outcomeOf(answered(410), NOW)).toEqual({ type: "gone" });
  });

  it.each([429, 502, 503, 504])("%i asks for a pause", (status) => {
    expect(outcomeOf(answered(status), NOW)).toMatchObject({ throttled: true, notBeforeMs: THROTTLE_MS });
    expect(outcomeOf(answered(status, { retryAfter: "7" }), NOW)).toMatchObject({ notBeforeMs: 7_000 });
  });

  it.each([
    ["120", 120_000],
    ["0", 0],
    ["Fri, 15 Jan 2027 08:01:00 GMT", 60_000],
    ["Fri, 15 Jan 2027 07:00:00 GMT", 0],
    ["Friday, 15-Jan-27 08:01:00 GMT", 60_000],
    ["Fri Jan 15 08:01:00 2027", 60_000],
    ["Mon Mar  1 08:00:00 2027", RETRY_AFTER_MS_MAX],
    ["7200", 7_200_000],
    ["86399", 86_399_000],
    ["99999999", RETRY_AFTER_MS_MAX],
    ["9".repeat(400), RETRY_AFTER_MS_MAX],
    ["Sun, 17 Jan 2027 08:00:00 GMT", RETRY_AFTER_MS_MAX],
    ["-5", null],
    ["1e3", null],
    ["tomorrow", null],
    ["2027-01-15", null],
    ["", null],
  ])("with Retry-After %j is waited for as asked", (header, ms) => {
    expect(new Date(NOW).toUTCString()).toBe("Fri, 15 Jan 2027 08:00:00 GMT");
    expect(retryAfterMs(header, NOW)).toBe(ms);
  });
});

describe("a destination's breaker", () => {
  const failed = outcomeOf(answered(500), NOW);
  const failedTimes = (failures: number, health: DestinationHealth = HEALTHY) => {
    let after = health;
    for (let count = 0; count < failures; count += 1) {
      after = afterTry(after, failed, Math.max(NOW + count, after.closedUntil), 0.5);
    }
    return after;
  };

  it("lets two go at once until five have failed in a row, then one", () => {
    expect([0, 1, 4, 5, 9].map((failures) => inFlightMax(failedTimes(failures)))).toEqual([2, 2, 2, 1, 1]);
    expect(failedTimes(4).closedUntil).toBe(0);
  });

  it("learns nothing from a try that began before it opened", () => {
    const open = failedTimes(5);
    expect(afterTry(open, failed, open.closedUntil - 1, 0.5)).toEqual(open);
    expect(afterTry(open, failed, open.closedUntil, 0.5).failures).toBe(6);
  });

  it("probes at the schedule's pace, half an hour at most", () => {
    let health = failedTimes(4);
    const pace: number[] = [];
    for (let failures = 5; failures <= 9; failures += 1) {
      const now = Math.max(NOW, health.closedUntil);
      health = afterTry(health, failed, now, 0.5);
      pace.push(health.closedUntil - now);
    }
    expect(pace).toEqual([5_000, 300_000, 1_800_000, 1_800_000, 1_800_000]);
  });

  it("closes with the first success", () => {
    expect(afterTry(failedTimes(9), { type: "delivered" }, NOW, 0.5)).toBe(HEALTHY);
  });

  it("waits as long as an overloaded destination asks", () => {
    const health = afterTry(HEALTHY, outcomeOf(answered(429, { retryAfter: "60" }), NOW), NOW, 0.5);
    expect(health).toEqual({ failures: 1, failingSince: NOW, closedUntil: NOW + 60_000 });
  });

  it("remembers the first failure, and gives up after five days", () => {
    const health = failedTimes(7);
    expect(health.failingSince).toBe(NOW);
    expect(isGivenUp(health, NOW + 5 * 86_400_000 - 1)).toBe(false);
    expect(isGivenUp(health, NOW + 5 * 86_400_000)).toBe(true);
    expect(isGivenUp(HEALTHY, NOW)).toBe(false);
  });
});

const facts = (more: Partial<JobFacts> = {}): JobFacts => ({
  id: JobId.parse(`job_${CHARS}`),
  endpoint: "text-to-image",
  endpointId: `ep_${CHARS}` as EndpointId,
  release: 3,
  state: "succeeded",
  lane: "interactive",
  tags: ["a"],
  attempt: 1,
  error: null,
  createdAt: NOW - 3_000,
  startedAt: NOW - 2_000,
  finishedAt: NOW,
  outputs: [],
  ...more,
});
const output = (index: number) => ({
  name: `images_${index}.png`,
  kind: "image",
  content_type: "image/png",
  size: 12_345,
  sha256: "a".repeat(64),
});
const bytes = (text: string) => new TextEncoder().encode(text).byteLength;

describe("a message", () => {
  it("tells of a job everything but its inputs", () => {
    const body = messageBody("job.succeeded", NOW, WORKSPACE, jobData(facts({ outputs: [output(0)] })), "");
    expect(JSON.parse(body)).toEqual({
      type: "job.succeeded",
      timestamp: "2027-01-15T08:00:00.000Z",
      workspace_id: WORKSPACE,
      data: {
        id: `job_${CHARS}`,
        endpoint: "text-to-image",
        endpoint_id: `ep_${CHARS}`,
        release: 3,
        state: "succeeded",
        lane: "interactive",
        tags: ["a"],
        attempt: 1,
        error: null,
        created_at: "2027-01-15T07:59:57.000Z",
        started_at: "2027-01-15T07:59:58.000Z",
        finished_at: "2027-01-15T08:00:00.000Z",
        outputs: [{ ...output(0), url: `/v1/jobs/job_${CHARS}/outputs/images_0.png` }],
        outputs_truncated: false,
      },
    });
  });

  it("has whole links where the API's address is known", () => {
    const data = jobData(facts({ outputs: [output(0)] }));
    const { data: sent } = JSON.parse(messageBody("job.succeeded", NOW, WORKSPACE, data, "https://api.example.com"));
    expect(sent.outputs[0].url).toBe(`https://api.example.com/v1/jobs/job_${CHARS}/outputs/images_0.png`);
  });

  it.each(["", "https://a-rather-long-name-of-an-api.example.com"])(
    "stays below 20 kB however much there is to say (%j)",
    (publicUrl) => {
      const much = facts({
        tags: Array.from({ length: 16 }, () => "é".repeat(128)),
        error: { code: "execution_error", message: "猫🐈".repeat(20_000), class_type: "X".repeat(9_000) },
        outputs: Array.from({ length: 1_000 }, (_, index) => output(index)),
      });
      const body = messageBody("job.failed", NOW, WORKSPACE, jobData(much), publicUrl);
      expect(bytes(body)).toBeLessThanOrEqual(WEBHOOK_BODY_BYTES_MAX);
      const { data } = JSON.parse(body) as { data: { outputs: unknown[]; outputs_truncated: boolean } };
      expect(data.outputs_truncated).toBe(true);
      // Not one more would have fitted.
      expect(bytes(body) + 400).toBeGreaterThan(WEBHOOK_BODY_BYTES_MAX);
      expect(data.outputs.length).toBeGreaterThan(10);
      expect(body.isWellFormed()).toBe(true);
    },
  );

  it.each(["\u0001", '"', "猫"])("stays below 20 kB when its texts are full of %j", (char) => {
    const tags = Array.from({ length: TAGS_MAX }, () => char.repeat(Math.floor(TAG_BYTES_MAX / bytes(char))));
    const name = char.repeat(10_000);
    const error = { code: "execution_error", message: name, node_id: name, class_type: name } as const;
    const data = jobData(facts({ state: "failed", tags, error }));
    const body = messageBody("job.failed", NOW, WORKSPACE, data, "");
    expect(bytes(body)).toBeLessThanOrEqual(WEBHOOK_BODY_BYTES_MAX);
    expect(data).toMatchObject({ tags: expect.arrayContaining([tags[0]]), error: { code: "execution_error" } });
  });

  it.each(WebhookEvent.options)("of the type %s has an example", (type) => {
    const body = messageBody(type, NOW, WORKSPACE, exampleData(type, NOW, WORKSPACE), "");
    expect(WebhookMessage.parse(JSON.parse(body))).toMatchObject({ type, data: { test: true } });
  });

  it.each(WebhookEvent.options.filter((type) => type !== "webhook.test"))("of the type %s is as documented", (type) => {
    const ofRelease = type === "release.ready" || type === "release.failed";
    const documented = type === "webhook.disabled" ? WebhookDisabled : ofRelease ? WebhookRelease : WebhookJob;
    const { data } = WebhookMessage.parse(
      JSON.parse(messageBody(type, NOW, WORKSPACE, exampleData(type, NOW, WORKSPACE), "")),
    );
    // Nothing is said that the document does not name.
    expect(documented.strict().parse(data)).toEqual(data);
  });
});
