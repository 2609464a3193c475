import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AGEING_MS_PER_LEVEL, IDEMPOTENCY_KEY_MS, RETRY_DELAY_MS, RETRY_DELAY_MS_MAX } from "#contract/limits";
import { checkIdempotency } from "#durable-objects/queue/idempotency";
import { makeToken } from "#durable-objects/queue/lease";
import { BATCH_PATIENCE_MS, BATCH_TURN, lanesInOrder, rankOf } from "#durable-objects/queue/order";
import { retryDelayMs } from "#durable-objects/queue/retry";

describe("a job's rank", () => {
  const arrival = fc.record({ at: fc.nat(), priority: fc.integer({ min: 0, max: 9 }) });

  it("is first come, first served within a priority", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 1_000_000 }), fc.integer({ min: 0, max: 9 }), (at, later, priority) => {
        expect(rankOf(at, priority)).toBeLessThanOrEqual(rankOf(at + later, priority));
      }),
    );
  });

  it("lets nobody be overtaken by arrivals of nine minutes later", () => {
    fc.assert(
      fc.property(arrival, arrival, (one, other) => {
        if (other.at <= one.at + 9 * AGEING_MS_PER_LEVEL) return;
        expect(rankOf(one.at, one.priority)).toBeLessThan(rankOf(other.at, other.priority));
      }),
    );
  });

  it("is worth a minute for each level", () => {
    expect(rankOf(0, 5)).toBe(rankOf(AGEING_MS_PER_LEVEL, 6));
  });
});

describe("the lanes", () => {
  it("are interactive first, unless a batch job is old, ten have overtaken it, none runs and none has begun for as long", () => {
    const turn = { headSince: 0, startedAt: null, overtaken: BATCH_TURN, isRunning: false };
    const now = BATCH_PATIENCE_MS;
    expect(lanesInOrder(turn, now)).toEqual(["batch", "interactive"]);
    expect(lanesInOrder({ ...turn, startedAt: 1 }, now + 1)).toEqual(["batch", "interactive"]);
    const others = [{ headSince: 1 }, { headSince: null }, { isRunning: true }, { startedAt: 1 }, { overtaken: 9 }];
    for (const other of others) expect(lanesInOrder({ ...turn, ...other }, now)).toEqual(["interactive", "batch"]);
  });
});

describe("the delay before a retry", () => {
  it("is between nothing and a bound that doubles up to a minute", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (failures, jitter) => {
          const delay = retryDelayMs(failures, jitter);
          expect(delay).toBeGreaterThanOrEqual(0);
          expect(delay).toBeLessThanOrEqual(Math.min(RETRY_DELAY_MS_MAX, 2 * RETRY_DELAY_MS * 2 ** (failures - 1)));
        },
      ),
    );
    expect(retryDelayMs(1, 0.5)).toBe(RETRY_DELAY_MS);
  });
});

describe("a token", () => {
  it("is its counter and 96 random bits", () => {
    expect(makeToken(42, () => Uint8Array.from({ length: 12 }, (_, index) => index))).toBe(
      "42.000102030405060708090a0b",
    );
  });
});

describe("an idempotency key", () => {
  const known = { scope: "createJob", key: "k", fingerprint: "f", result: "job_1", createdAt: 0 };

  it("means its first request for a day, and then nothing", () => {
    expect(checkIdempotency(null, "f", 5)).toEqual({ type: "fresh" });
    expect(checkIdempotency(known, "f", IDEMPOTENCY_KEY_MS - 1)).toEqual({ type: "replay", result: "job_1" });
    expect(checkIdempotency(known, "g", IDEMPOTENCY_KEY_MS - 1)).toEqual({ type: "reused" });
    expect(checkIdempotency(known, "g", IDEMPOTENCY_KEY_MS)).toEqual({ type: "fresh" });
  });
});
