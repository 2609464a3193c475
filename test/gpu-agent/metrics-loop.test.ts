import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { METRICS_UNWATCHED_MS, METRICS_WATCHED_MS } from "#contract/limits";
import type { NodeMetrics } from "#contract/replica";
import { MetricsLoop } from "#gpu-agent/metrics-loop";
import { comesTrue } from "./quick-timings.ts";

const figures: NodeMetrics = {
  gpus: [],
  cpu_percent: 1,
  memory_used_mb: 1,
  memory_total_mb: 1,
  disk_free_mb: 1,
  disk_total_mb: 1,
  network_in_bytes_per_s: null,
  network_out_bytes_per_s: null,
};

describe("the sending of figures", () => {
  let stop = new AbortController();
  beforeEach(() => {
    stop = new AbortController();
  });
  afterEach(() => stop.abort());

  it("goes on at the pace of the answers, at once when somebody looks, and survives what fails", async () => {
    const log: string[] = [];
    let sent = 0;
    let next: number | null = METRICS_UNWATCHED_MS;
    let fails = false;
    const loop = new MetricsLoop({
      measure: () => Promise.resolve(figures),
      send: () => {
        sent += 1;
        return fails ? Promise.reject(new Error("no route")) : Promise.resolve(next);
      },
      log: (event) => void log.push(event),
    });
    const running = loop.run(stop.signal);
    await comesTrue("the first figures are sent", () => sent === 1);
    // Nobody looks: the next ones would come in fifteen seconds. Somebody does, so they come now, and go on each second.
    next = METRICS_WATCHED_MS;
    loop.paceAsked(METRICS_WATCHED_MS);
    await comesTrue("they come each second", () => sent >= 3);
    fails = true;
    await comesTrue("a failure is said", () => log.length === 1);
    fails = false;
    const before = sent;
    loop.paceAsked(METRICS_WATCHED_MS);
    await comesTrue("it goes on", () => sent > before);
    expect(log).toEqual(["metrics_not_sent"]);
    stop.abort();
    await running;
  });

  it("keeps to the pace that somebody asked for while an answer from before was on its way", async () => {
    let sent = 0;
    let answer: (next: number) => void = () => undefined;
    const loop = new MetricsLoop({
      measure: () => Promise.resolve(figures),
      send: () => {
        sent += 1;
        return new Promise((resolve) => {
          answer = resolve;
        });
      },
      log: () => undefined,
    });
    const running = loop.run(stop.signal);
    await comesTrue("the first figures are on their way", () => sent === 1);
    loop.paceAsked(METRICS_WATCHED_MS);
    answer(METRICS_UNWATCHED_MS);
    await comesTrue("the next ones come soon", () => sent === 2);
    stop.abort();
    answer(METRICS_UNWATCHED_MS);
    await running;
  });
});
