import { describe, expect, it } from "vitest";
import type { EndpointSettings } from "#contract/endpoint";
import { PredictiveScaler } from "#durable-objects/autoscaler/predictive";
import { type Arrival, arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { replay } from "#durable-objects/autoscaler/replay/engine";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import { SETTINGS } from "../autoscaler/observed.ts";
import { quantile, ScaledWorld, type WorldOptions } from "./scaled-world.ts";

const MINUTE = 60_000;
const BACKLOG = 10_000;
const AFTER_MS = 20 * MINUTE;
/** Thousands of jobs go through the endpoint's own core. */
const PATIENCE_MS = 120_000;
/** Where the p95 is nothing at all, a part of it would be nothing either. */
const ALMOST_NOTHING_MS = 100;

type Pattern = "at random" | "evenly" | "in bursts";

interface Case {
  readonly settings?: Partial<EndpointSettings>;
  readonly slots?: number;
  /** Interactive jobs come so far apart on average, ms; null: none does. */
  readonly apartMs: number | null;
  readonly pattern?: Pattern;
}

/** Jobs of a burst, which come within moments. */
const BURST = 6;
const BURST_MS = 300;

/** Starts a stream of interactive jobs of a pattern. */
function stream(made: ScaledWorld, { apartMs, pattern = "at random" }: Case, forMs: number): void {
  if (apartMs === null) return;
  if (pattern === "at random") {
    made.arrivals("interactive", apartMs, forMs);
    return;
  }
  const atOnce = pattern === "in bursts" ? BURST : 1;
  for (let at = apartMs * atOnce; at < forMs; at += apartMs * atOnce) {
    for (let job = 0; job < atOnce; job += 1) {
      made.in(at + Math.round((job * BURST_MS) / BURST), () => made.submit("interactive"));
    }
  }
}

function optionsOf(seed: number, settings: Partial<EndpointSettings>, slots: number): WorldOptions {
  return {
    settings: { policy: "predictive", max_replicas: 8, batch_target_wait_s: 60, queue_depth_max: 20_000, ...settings },
    slots,
    bootMs: 8_000,
    serviceMs: { interactive: 4_000, batch: 4_000 },
    seed,
  };
}

/** Half an hour, with or without a backlog of batch jobs that comes after ten minutes. */
function world(seed: number, each: Case, backlog: number) {
  const { settings = {}, slots = 8 } = each;
  const made = new ScaledWorld(optionsOf(seed, settings, slots));
  stream(made, each, 10 * MINUTE + AFTER_MS);
  made.run(10 * MINUTE);
  for (let jobs = 0; jobs < backlog; jobs += 1_000) made.submitBatch(1_000);
  const before = made.waits.interactive.length;
  made.run(AFTER_MS);
  return { p95: quantile(made.waits.interactive.slice(before), 0.95), batchDone: backlog - batchLeft(made) };
}

function batchLeft({ endpoint }: ScaledWorld): number {
  const reply = endpoint.core.queueSummary(endpoint.workspaceId);
  if (!reply.ok) throw new Error(reply.code);
  return reply.summary.queued.batch;
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

  it.each<[number, Pattern, number]>([
    [6, "at random", 1_000],
    [3, "at random", 2_000],
    [2, "at random", 4_000],
    [3, "evenly", 2_000],
    [6, "in bursts", 10_000],
    [3, "in bursts", 10_000],
  ])(
    "wait no longer than ten per cent more where %i fixed replicas have no time to spare: %s, each %i ms",
    (replicas, pattern, apartMs) => {
      const each = { settings: { min_replicas: replicas, max_replicas: replicas }, apartMs, pattern };
      const seeds = pattern === "at random" ? [1, 2, 3] : [1];
      const without = seeds.map((seed) => world(seed, each, 0));
      const beside = seeds.map((seed) => world(seed, each, BACKLOG));
      const p95 = (worlds: typeof beside) => worlds.reduce((sum, one) => sum + one.p95, 0) / seeds.length;
      expect(p95(beside)).toBeLessThanOrEqual(p95(without) * 1.1);
      // What is theirs in any case, and between bursts that come each minute a good part of what idles.
      const share = pattern === "in bursts" ? 0.1 : 0.005;
      for (const { batchDone } of beside) expect(batchDone).toBeGreaterThan(share * replicas * (AFTER_MS / 4_000));
    },
  );

  it("leave the whole fleet to them within a minute of a burst", () => {
    const made = new ScaledWorld(optionsOf(1, { min_replicas: 6, max_replicas: 6 }, 8));
    made.run(MINUTE);
    for (let job = 0; job < 12; job += 1) made.in(job * 500, () => made.submit("interactive"));
    made.run(10_000);
    made.submitBatch(1_000);
    made.run(MINUTE);
    const before = batchLeft(made);
    made.run(MINUTE);
    // Six replicas, four seconds each.
    expect(before - batchLeft(made)).toBeGreaterThan(0.8 * 6 * 15);
  });

  it("share one replica with them where there can be no second", () => {
    const beside = world(6, { settings: { max_replicas: 1, min_replicas: 1 }, apartMs: 20_000 }, BACKLOG);
    // A batch job that has begun is not taken off; beyond that, interactive jobs come first.
    expect(beside.p95).toBeLessThanOrEqual(2 * 6_000);
    expect(beside.batchDone).toBeGreaterThan(200);
  });

  it.each([
    { max_replicas: 8, min_replicas: 0, batch_target_wait_s: 60, apartMs: 5_000, backlog: 400 },
    { max_replicas: 8, min_replicas: 0, batch_target_wait_s: 60, apartMs: 60_000, backlog: 400 },
    { max_replicas: 4, min_replicas: 4, batch_target_wait_s: 60, apartMs: 2_000, backlog: 3_000 },
    { max_replicas: 4, min_replicas: 0, batch_target_wait_s: 600, apartMs: 20_000, backlog: 60 },
  ])(
    "get what a replay of the same arrivals says, and so does the backlog: %j",
    ({ apartMs, backlog, ...settings }) => {
      const made = new ScaledWorld(optionsOf(1, settings, 8));
      const interactive: Arrival[] = [];
      for (let at = apartMs; at < AFTER_MS; at += apartMs) {
        const strayed = at + ((at * 7_919) % 997);
        made.in(strayed, () => made.submit("interactive"));
        interactive.push({ t: strayed / 1_000, serviceS: 4 });
      }
      const batch = Array.from({ length: backlog }, (): Arrival => ({ t: 300, serviceS: 4, lane: "batch" }));
      made.in(300_000, () => {
        for (let jobs = 0; jobs < backlog; jobs += 20) made.submitBatch(20);
      });
      made.run(AFTER_MS);
      const { max_replicas: ceiling, min_replicas: floor, batch_target_wait_s } = settings;
      const rows = [...interactive, ...batch].sort((a, b) => a.t - b.t);
      const said = replay(
        arrivalsOf(rows),
        scalerPolicy(new PredictiveScaler(null), {
          ...SETTINGS,
          ceiling,
          floor,
          batchTargetWaitMs: batch_target_wait_s * 1_000,
        }),
        { horizonS: AFTER_MS / 1_000, bootS: 8, warm: floor },
      );
      const hasBegun = ({ t, lane }: Arrival, job: number) =>
        lane === "batch" && t + (said.waitsS[job] ?? 0) <= AFTER_MS / 1_000;
      const begun = rows.filter(hasBegun).length / (backlog - batchLeft(made));
      expect(Math.abs(Math.log(begun))).toBeLessThan(0.1);
      expect(Math.abs(Math.log(said.gpuSeconds / (made.gpuMs / 1_000)))).toBeLessThan(0.15);
    },
  );

  it("leave everything to them once there have been none for a while", () => {
    const beside = world(7, { settings: { min_replicas: 3, max_replicas: 3 }, apartMs: null }, BACKLOG);
    expect(beside.batchDone).toBeGreaterThan(0.9 * 3 * (AFTER_MS / 4_000));
  });
});
