import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ReplicaId } from "#contract/ids";
import {
  begun,
  type Card,
  decide,
  failureOn,
  freshTrial,
  isReadyOn,
  isSettled,
  openCards,
  proven,
  refuted,
  releaseState,
  returned,
  TRIES_MAX,
  type Trial,
  trialOn,
} from "#durable-objects/replicas/release-gate";

const replica = (name: number) => `rep_${name}` as ReplicaId;
const CARDS: readonly Card[] = ["rtx-4090", "a100-80", null];

describe("whether a release may become the active one", () => {
  const wish = { release: 2, active: 1, force: false, isActiveProven: true, isReady: false };

  it("waits for a release that has not run where the active one has", () => {
    expect(decide(wish)).toBe("waits");
  });

  it.each([
    ["it is ready", { isReady: true }],
    ["it is forced", { force: true }],
    ["the active one has never run: there is nothing to keep", { isActiveProven: false }],
  ])("is at once when %s", (_, change) => {
    expect(decide({ ...wish, ...change })).toBe("now");
  });

  it("has nothing to do for the active one", () => {
    expect(decide({ ...wish, release: 1, isReady: false })).toBe("active");
  });
});

describe("a release on its cards", () => {
  const on = (card: Card) => freshTrial(2, card);

  it("is ready when it has run on every card that is online, and on none it is not", () => {
    const trials = [proven(on("rtx-4090"), replica(1), 5), on("a100-80")];
    expect(isReadyOn(trials, ["rtx-4090"])).toBe(true);
    expect(isReadyOn(trials, ["rtx-4090", "a100-80"])).toBe(false);
    expect(isReadyOn(trials, ["rtx-4090", null])).toBe(false);
    expect(isReadyOn(trials, [])).toBe(false);
  });

  it("has failed when it cannot run on one of them; a card that went away does not count", () => {
    const trials = [refuted(begun(on("a100-80"), "e", replica(1), 1), "no such class", 2)];
    expect(failureOn(trials, ["rtx-4090", "a100-80"])?.error).toBe("no such class");
    expect(failureOn(trials, ["rtx-4090"])).toBeNull();
    expect(releaseState(trials, ["rtx-4090"], { isAwaited: true, wasReady: false })).toBe("verifying");
  });

  it("shows how far it is, and stays ready once it was", () => {
    const standing = { isAwaited: false, wasReady: false };
    expect(releaseState([], ["rtx-4090"], standing)).toBe("untried");
    expect(releaseState([], ["rtx-4090"], { ...standing, isAwaited: true })).toBe("verifying");
    const building = begun(on("rtx-4090"), "e", replica(1), 1);
    expect(releaseState([building], ["rtx-4090"], standing)).toBe("building");
    expect(releaseState([{ ...building, state: "verifying" }], ["rtx-4090"], standing)).toBe("verifying");
    const failed = refuted(building, "why", 2);
    expect(releaseState([failed], ["rtx-4090"], standing)).toBe("failed");
    expect(releaseState([failed], [], standing)).toBe("failed");
    expect(releaseState([failed], ["rtx-4090"], { ...standing, wasReady: true })).toBe("ready");
  });

  it("is offered again when a try ended without a result, and given up after so many", () => {
    let trial = on("rtx-4090");
    for (let round = 1; round < TRIES_MAX; round += 1) {
      trial = returned(begun(trial, `e${round}`, replica(round), round), "it died", round);
      expect(trial).toMatchObject({ state: "untried", errand: null, tries: round, error: "it died" });
    }
    trial = returned(begun(trial, "last", replica(9), 9), "it died", 9);
    expect(trial).toMatchObject({ state: "failed", errand: null, tries: TRIES_MAX });
    expect(trial.error).toMatch(/^3 tries ended without a result\. The last one: it died$/);
  });
});

type Happening =
  | { readonly type: "begin"; readonly card: Card; readonly replica: number }
  | { readonly type: "ready" | "fail" | "die"; readonly card: Card }
  | { readonly type: "online"; readonly cards: readonly Card[] };

const card = fc.constantFrom(...CARDS);
const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ type: fc.constant("begin" as const), card, replica: fc.nat(3) }),
  fc.record({ type: fc.constantFrom("ready" as const, "fail" as const, "die" as const), card }),
  fc.record({ type: fc.constant("online" as const), cards: fc.subarray([...CARDS]) }),
);

/** One step of a release's life: what cannot happen changes nothing. */
function stepped(trials: readonly Trial[], what: Exclude<Happening, { type: "online" }>, now: number): Trial[] {
  const before = trialOn(trials, what.card) ?? freshTrial(2, what.card);
  const next = (() => {
    switch (what.type) {
      case "begin":
        return before.errand === null && !isSettled(before)
          ? begun(before, `e${now}`, replica(what.replica), now)
          : before;
      case "ready":
        return proven(before, before.replicaId ?? replica(0), now);
      case "fail":
        return before.errand === null ? before : refuted(before, "it cannot", now);
      case "die":
        return before.errand === null ? before : returned(before, "it died", now);
    }
  })();
  return [...trials.filter((trial) => trial.card !== what.card), next];
}

describe("whatever happens to a release", () => {
  it("is ready on all cards, has failed on one, or is open or under way on some: never none of these", () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
        let trials: Trial[] = [];
        let online: readonly Card[] = ["rtx-4090"];
        happenings.forEach((what, now) => {
          if (what.type === "online") online = what.cards;
          else trials = stepped(trials, what, now + 1);
          const open = openCards(trials, online);
          const busy = trials.filter((trial) => trial.errand !== null && online.includes(trial.card));
          const isReady = isReadyOn(trials, online);
          const failed = failureOn(trials, online);
          expect(isReady && failed !== null).toBe(false);
          if (online.length > 0) expect(isReady || failed !== null || open.length > 0 || busy.length > 0).toBe(true);
          // Nobody is sent where somebody is, or where there is nothing left to find out.
          for (const where of open) {
            const trial = trialOn(trials, where);
            expect(trial === null || (trial.errand === null && !isSettled(trial))).toBe(true);
          }
          for (const trial of trials) {
            expect(isSettled(trial) && trial.errand !== null).toBe(false);
            expect(trial.tries).toBeLessThanOrEqual(TRIES_MAX);
            if (trial.state === "building") expect(trial.errand).not.toBeNull();
          }
          const state = releaseState(trials, online, { isAwaited: true, wasReady: false });
          if (online.length > 0) expect(state === "ready").toBe(isReady);
          if (failed !== null) expect(state).toBe("failed");
        });
      }),
    );
  });

  it("is tried a bounded number of times, however often its replicas die", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 10, maxLength: 40 }), (replicas) => {
        let trials: Trial[] = [];
        let begins = 0;
        replicas.forEach((name, now) => {
          const had = trials.at(0)?.errand ?? null;
          trials = stepped(trials, { type: "begin", card: null, replica: name }, now + 1);
          if (had === null && trials.at(0)?.errand !== null) begins += 1;
          trials = stepped(trials, { type: "die", card: null }, now + 1);
        });
        expect(begins).toBe(TRIES_MAX);
        expect(trials.at(0)?.state).toBe("failed");
      }),
    );
  });
});
