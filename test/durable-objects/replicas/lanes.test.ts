import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { quantile, ScaledWorld, type WorldOptions } from "./scaled-world.ts";

const MINUTE = 60_000;
const BACKLOG = 10_000;
const AFTER_MS = 20 * MINUTE;
/** Thousands of jobs go through the endpoint's own core. */
const PATIENCE_MS = 120_000;
/** Where the p95 is nothing at all, a part of it would be nothing either. */
const ALMOST_NOTHING_MS = 100;

interface Case {
  readonly settings?: Partial<EndpointSettings>;
  readonly slots?: number;
  /** Interactive jobs come so far apart on average, ms; null: none does. */
  readonly apartMs: number | null;
}

/** Half an hour, with or without a backlog of batch jobs that comes after ten minutes. */
function world(seed: number, { settings = {}, slots = 8, apartMs }: Case, backlog: number) {
  const options: WorldOptions = {
    settings: { policy: "predictive", max_replicas: 8, batch_target_wait_s: 60, queue_depth_max: 20_000, ...settings },
    slots,
    bootMs: 8_000,
    serviceMs: { interactive: 4_000, batch: 4_000 },
    seed,
  };
  const made = new ScaledWorld(options);
  if (apartMs !== null) made.arrivals("interactive", apartMs, 10 * MINUTE + AFTER_MS);
  made.run(10 * MINUTE);
  for (let jobs = 0; jobs < backlog; jobs += 1_000) made.submitBatch(1_000);
  const before = made.waits.interactive.length;
  made.run(AFTER_MS);
  const summary = made.endpoint.core.queueSummary(made.endpoint.workspaceId);
  const left = summary.ok ? summary.summary.queued.batch : backlog;
  return { p95: quantile(made.waits.interactive.slice(before), 0.95), batchDone: backlog - left };
}

describe("interactive jobs beside a backlog of 10,000 batch jobs", { timeout: PATIENCE_MS }, () => {
  it.each<[string, number, Case]>([
    ["with the default policy", 1, { apartMs: 5_000 }],
    ["with the default policy, when they are rare", 2, { apartMs: 60_000 }],
    ["with queue_delay", 3, { settings: { policy: "queue_delay" }, apartMs: 5_000 }],
    ["with request_count", 4, { settings: { policy: "request_count" }, apartMs: 5_000 }],
    ["on a fixed number of replicas", 5, { settings: { min_replicas: 6, max_replicas: 6 }, apartMs: 2_000 }],
  ])("wait no longer than ten per cent more, p95, %s", (_, seed, each) => {
    const without = world(seed, each, 0);
    const beside = world(seed, each, BACKLOG);
    expect(beside.p95).toBeLessThanOrEqual(without.p95 * 1.1 + ALMOST_NOTHING_MS);
    expect(beside.batchDone).toBeGreaterThan(50);
  });

  it("share one replica with them where there can be no second", () => {
    const beside = world(6, { settings: { max_replicas: 1, min_replicas: 1 }, apartMs: 20_000 }, BACKLOG);
    // A batch job that has begun is not taken off; beyond that, interactive jobs come first.
    expect(beside.p95).toBeLessThanOrEqual(2 * 6_000);
    expect(beside.batchDone).toBeGreaterThan(200);
  });

  it("leave everything to them once there have been none for a while", () => {
    const beside = world(7, { settings: { min_replicas: 3, max_replicas: 3 }, apartMs: null }, BACKLOG);
    expect(beside.batchDone).toBeGreaterThan(0.9 * 3 * (AFTER_MS / 4_000));
  });
});
