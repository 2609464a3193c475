import { describe, expect, it } from "vitest";
import { type ModelProgress, ProgressMeter } from "#gpu-agent/models/progress-meter";

function meter(total: number) {
  let now = 0;
  const heard: ModelProgress[] = [];
  const made = new ProgressMeter(total, () => now);
  const stop = made.listen((progress) => heard.push(progress));
  return {
    made,
    heard,
    stop,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

describe("progress", () => {
  it("is told at once, at changes of phase, and of bytes at most five times a second", () => {
    const { made, heard, pass, stop } = meter(1_000_000);
    expect(heard).toEqual([{ phase: "waiting", bytesDone: 0, bytesTotal: 1_000_000, bytesPerSecond: 0, source: null }]);
    made.enter("downloading", "files.example.org");
    for (let times = 0; times < 100; times += 1) {
      pass(10);
      made.addBytes(1_000);
    }
    expect(heard.length).toBe(2 + 5);
    expect(heard.at(-1)).toMatchObject({ phase: "downloading", source: "files.example.org", bytesDone: 100_000 });
    stop();
    made.enter("ready");
    expect(heard.length).toBe(7);
    expect(made.progress).toMatchObject({ phase: "ready", bytesDone: 1_000_000, source: null });
  });

  it("has the speed of the last seconds, which what was there already does not raise", () => {
    const { made, pass } = meter(1_000_000);
    made.startAt(500_000);
    expect(made.progress.bytesPerSecond).toBe(0);
    for (let times = 0; times < 50; times += 1) {
      pass(100);
      made.addBytes(1_000);
    }
    expect(made.progress.bytesPerSecond).toBe(10_000);
    for (let times = 0; times < 60; times += 1) {
      pass(100);
      made.addBytes(2_000);
    }
    expect(made.progress.bytesPerSecond).toBe(20_000);
  });

  it("goes back when bytes are thrown away, and its speed is never negative", () => {
    const { made, pass } = meter(1_000);
    made.addBytes(800);
    pass(1_000);
    made.addBytes(-800);
    expect(made.progress).toMatchObject({ bytesDone: 0, bytesPerSecond: 0 });
    pass(1_000);
    made.addBytes(100);
    expect(made.progress).toMatchObject({ bytesDone: 100, bytesPerSecond: 100 });
  });
});
