import { describe, expect, it } from "vitest";
import {
  afterFastFailure,
  afterLie,
  afterLongLife,
  afterReturn,
  afterStray,
  FAILURE_STREAK_MS,
  FLAPS_MAX,
  FLAPS_WITHIN_MS,
  FULL_TRUST,
  lieIn,
  type NodeTrust,
  QUARANTINE_FORGIVEN_MS,
  QUARANTINE_MS,
  QUARANTINE_MS_MAX,
  quarantineAt,
  STRAYS_MAX,
} from "#durable-objects/replicas/trust";

const failure = (build: string, more: { runsElsewhere?: boolean; worksHere?: boolean } = {}) => ({
  build,
  runsElsewhere: false,
  worksHere: false,
  error: "out of memory",
  ...more,
});
const fail = (builds: readonly Parameters<typeof afterFastFailure>[1][], apartMs = 1_000): NodeTrust =>
  builds.reduce((trust, each, index) => afterFastFailure(trust, each, index * apartMs), FULL_TRUST);

describe("fast failures", () => {
  it("of several builds put the machine in quarantine, with the last error", () => {
    const trust = fail([failure("a"), failure("b"), failure("a")]);
    expect(quarantineAt(trust, 3_000)).toMatchObject({
      reason: expect.stringContaining("out of memory"),
      since: 2_000,
    });
    expect(quarantineAt(fail([failure("a"), failure("b")]), 3_000)).toBeNull();
  });

  it("of one build do so only when that build runs elsewhere", () => {
    const alone = [failure("a"), failure("a"), failure("a"), failure("a")];
    expect(quarantineAt(fail(alone), 3_000)).toBeNull();
    expect(quarantineAt(fail([...alone, failure("a", { runsElsewhere: true })]), 4_000)).not.toBeNull();
  });

  it("do not count while something works there, after something has lived, or when they are far apart", () => {
    const three = [failure("a"), failure("b"), failure("c", { worksHere: true }), failure("d")];
    expect(quarantineAt(fail(three), 4_000)).toBeNull();
    const lived = afterFastFailure(afterLongLife(fail([failure("a"), failure("b")])), failure("c"), 3_000);
    expect(quarantineAt(lived, 3_000)).toBeNull();
    expect(
      quarantineAt(fail([failure("a"), failure("b"), failure("c")], FAILURE_STREAK_MS / 2), FAILURE_STREAK_MS),
    ).toBeNull();
  });
});

describe("a quarantine", () => {
  const lie = (trust: NodeTrust, at: number) => afterLie(trust, "it lied", at);
  const length = (trust: NodeTrust) => (trust.quarantine?.until ?? 0) - (trust.quarantine?.since ?? 0);

  it("ends by itself, is twice as long the next time, up to an hour, and starts anew after a day", () => {
    let trust = FULL_TRUST;
    let now = 0;
    const lengths: number[] = [];
    for (let times = 0; times < 9; times += 1) {
      trust = lie(trust, now);
      lengths.push(length(trust));
      now = trust.quarantine?.until ?? now;
      expect(quarantineAt(trust, now - 1)?.reason).toBe("it lied");
      expect(quarantineAt(trust, now)).toBeNull();
    }
    expect(lengths).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60].map((minutes) => minutes * 60_000));
    expect(QUARANTINE_MS_MAX).toBe(60 * 60_000);
    expect(length(lie(trust, now + QUARANTINE_FORGIVEN_MS))).toBe(QUARANTINE_MS);
  });

  it("goes on while the lie is told again, and is not doubled by it", () => {
    let trust = FULL_TRUST;
    for (let now = 0; now < 10 * QUARANTINE_MS; now += 10_000) {
      trust = lie(trust, now);
      expect(quarantineAt(trust, now)).toMatchObject({ since: 0 });
    }
    expect(trust.times).toBe(1);
    expect(quarantineAt(trust, 11 * QUARANTINE_MS)).toBeNull();
  });
});

describe("a node that flaps", () => {
  it("is left alone for a while after so many returns in so short a time", () => {
    const returns = (apartMs: number) =>
      Array.from({ length: FLAPS_MAX }, (_, index) => index * apartMs).reduce(afterReturn, FULL_TRUST);
    const apart = FLAPS_WITHIN_MS / FLAPS_MAX;
    expect(quarantineAt(returns(apart), apart * (FLAPS_MAX - 1))?.reason).toContain(`${FLAPS_MAX} times`);
    expect(quarantineAt(returns(FLAPS_WITHIN_MS), FLAPS_WITHIN_MS * (FLAPS_MAX - 1))).toBeNull();
  });
});

describe("a node that runs what it was never given", () => {
  it("is believed twice", () => {
    const reported = (strays: number) =>
      Array.from({ length: strays }, (_, index) => index).reduce(afterStray, FULL_TRUST);
    expect(quarantineAt(reported(STRAYS_MAX - 1), 10)).toBeNull();
    expect(quarantineAt(reported(STRAYS_MAX), 10)?.reason).toContain("never given");
  });
});

describe("what a node says", () => {
  const gpu = (uuid: string, index = 0) => ({ index, uuid, name: "card", vram_mb: 24_564 });
  const said = (more: Partial<Parameters<typeof lieIn>[0]> = {}) => ({
    gpus: [gpu("one")],
    slots: 1,
    slotsPerGpu: 1,
    start: 7,
    ...more,
  });

  it("is not believed when its slots are more than its cards hold", () => {
    expect(lieIn(said({ slots: 2 }), said())).toContain("2 slots on 1 cards");
    expect(lieIn(said({ slots: 2, slotsPerGpu: 2 }), said())).toBeNull();
    // Who does not say it has one for each card; a machine without a card may have any number.
    expect(lieIn(said({ slots: 64, slotsPerGpu: null }), said())).toContain("64 slots on 1 cards with 1 slots each");
    expect(lieIn(said({ slotsPerGpu: null }), said())).toBeNull();
    expect(lieIn(said({ slots: 4, gpus: [] }), said({ gpus: [] }))).toBeNull();
  });

  it("is not believed when it counts a card twice", () => {
    const two = [gpu("one"), gpu("one")];
    expect(lieIn(said({ gpus: two, slots: 2 }), said({ gpus: two, slots: 2 }))).toContain("more than once: one");
    const unknown = [0, 1].map((index) => ({ ...gpu("one", index), uuid: null }));
    expect(lieIn(said({ gpus: unknown, slots: 2 }), said({ gpus: unknown, slots: 2 }))).toBeNull();
    const same = unknown.map((each) => ({ ...each, index: 0 }));
    expect(lieIn(said({ gpus: same, slots: 2 }), said({ gpus: same, slots: 2 }))).toContain("more than once: 0");
  });

  it("is not believed when the cards change under one start of its agent", () => {
    expect(lieIn(said({ gpus: [gpu("two")] }), said())).toContain("one became card 24564 MB two");
    expect(lieIn(said({ gpus: [] }), said())).toContain("24564 MB one became none");
    expect(lieIn(said({ gpus: [{ ...gpu("one"), vram_mb: 81_920 }] }), said())).toContain("81920 MB");
    expect(lieIn(said({ gpus: [{ ...gpu("one"), name: "H100" }] }), said())).toContain("H100");
    expect(lieIn(said({ gpus: [gpu("two")], start: 8 }), said())).toBeNull();
    expect(lieIn(said({ gpus: [gpu("two")], start: null }), said({ start: null }))).toContain("became");
  });
});
