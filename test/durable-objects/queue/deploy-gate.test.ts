/** The deploy gate under a clock and an alarm that only the test moves. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { VerificationReport } from "#contract/agent";
import type { EndpointSettings } from "#contract/endpoint";
import type { WishRequest } from "#durable-objects/endpoint/release-gate";
import { EndpointHarness, type FakeReplica } from "./endpoint-harness.ts";

const NODES_GONE: readonly (string | null)[] = [];

/** An endpoint whose release 1 has run on each of these cards, with one replica on each. */
class GatedWorld {
  readonly harness: EndpointHarness;
  readonly replicas: FakeReplica[] = [];
  readonly cards: (string | null)[];
  #errands = 0;

  constructor(cards: readonly (string | null)[], settings: Partial<EndpointSettings> = {}) {
    this.cards = [...cards];
    this.harness = new EndpointHarness({ min_replicas: cards.length, max_replicas: 4, ...settings });
    for (const _ of cards) this.replicas.push(this.harness.replica());
    this.hear();
    for (const replica of this.replicas) this.report(replica, 1);
    expect(this.gate().isActiveProven).toBe(true);
  }

  /** The pod answers the demand: these replicas are there, and these cards are online. */
  hear(online: readonly (string | null)[] = this.cards): void {
    const placed = this.replicas.map(({ id, node }, index) => ({
      replicaId: id,
      nodeId: node.nodeId,
      gpuType: this.cards[index] ?? null,
      slotsOnCard: 1,
    }));
    this.harness.answerDemand(this.replicas, { replicas: placed, gpuTypes: [...online] });
    this.harness.call((core) => core.cardsHeard(this.harness.podId, [...online]));
  }

  report({ id, node }: FakeReplica, proven?: number): void {
    const said = { state: "ready" as const, phases: [], ...(proven === undefined ? {} : { proven }) };
    expect(this.harness.call((core) => core.reportReplica(node, id, said))).toMatchObject({ ok: true });
  }

  gate() {
    const reply = this.harness.core.releaseGate(this.harness.workspaceId, [1, 2, 3]);
    if (!reply.ok) throw new Error(reply.code);
    return reply.gate;
  }

  state(release: number) {
    return this.gate().releases.find((one) => one.release === release);
  }

  wish(release: number, more: Partial<WishRequest> = {}): string {
    const request = { release, replaces: this.active, cause: "activate", canary: null, force: false, ...more } as const;
    const reply = this.harness.call((core) => core.wishRelease(this.harness.workspaceId, request));
    if (!reply.ok) throw new Error(reply.code);
    return reply.decision;
  }

  active = 1;

  /** The shell's part: the catalog takes what is ready. */
  tellCatalog(): void {
    const ready = this.harness.core.readyWish();
    if (ready === null) return;
    const { release, replaces } = ready.wish;
    if (this.active === replaces) this.active = release;
    const held = { release: this.active, canary: undefined };
    this.harness.call((core) => core.catalogTold(ready.wish, held));
  }

  /** An idle poll. @returns the errand's id and release, or null */
  poll({ id, node }: FakeReplica, verifies = true): { id: string; release: number } | null {
    this.#errands += 1;
    const poll = { poll_id: `errand-${String(this.#errands).padStart(6, "0")}`, leases: [], verifies, wait_ms: 0 };
    const outcome = this.harness.call((core) => core.pollReplica(node, id, poll));
    if (outcome.type !== "answered" || !outcome.reply.ok) return null;
    const { verify } = outcome.reply.answer;
    return verify == null ? null : { id: poll.poll_id, release: verify.release };
  }

  say(
    { id, node }: FakeReplica,
    errand: { id: string; release: number },
    more: Omit<VerificationReport, "errand" | "release">,
  ) {
    const report = { errand: errand.id, release: errand.release, ...more };
    const reply = this.harness.call((core) => core.reportVerification(node, id, report));
    if (!("ok" in reply) || !reply.ok) throw new Error("the report was refused");
    return reply.answer;
  }

  at(index: number): FakeReplica {
    const replica = this.replicas[index];
    if (replica === undefined) throw new Error("there is no such replica");
    return replica;
  }
}

describe("a release that waits", () => {
  it("has to run on every card that is online, and a card without a replica gets one", () => {
    const world = new GatedWorld(["rtx-4090"]);
    expect(world.wish(2)).toBe("waits");
    world.hear(["rtx-4090", "a100-80"]);
    // The pod is asked for a replica on the card that has none.
    expect(world.harness.core.demand(world.harness.podId)?.trials).toEqual(["a100-80"]);
    const first = world.poll(world.at(0));
    if (first === null) throw new Error("no errand");
    world.say(world.at(0), first, { state: "ready" });
    expect(world.gate().pending).toMatchObject({
      release: 2,
      waits_for: "replica",
      reason: expect.stringContaining("a100-80"),
    });
    expect(world.state(2)?.verification.map(({ gpu_type, state }) => [gpu_type, state])).toEqual([
      ["rtx-4090", "ready"],
      ["a100-80", "untried"],
    ]);
    world.replicas.push(world.harness.replica());
    world.cards.push("a100-80");
    world.hear();
    world.report(world.at(1), 1);
    expect(world.harness.core.demand(world.harness.podId)?.trials).toEqual([]);
    expect(world.poll(world.at(0))).toBeNull();
    const second = world.poll(world.at(1));
    if (second === null) throw new Error("no errand");
    world.say(world.at(1), second, { state: "ready" });
    expect(world.gate().pending).toMatchObject({ waits_for: "activation" });
    world.tellCatalog();
    expect([world.active, world.gate().pending, world.state(2)?.state]).toEqual([2, null, "ready"]);
  });

  it("does not wait for a card that has gone", () => {
    const world = new GatedWorld(["rtx-4090"]);
    world.wish(2);
    world.hear(["rtx-4090", "a100-80"]);
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    world.say(world.at(0), errand, { state: "ready" });
    expect(world.gate().pending?.release).toBe(2);
    world.hear(["rtx-4090"]);
    world.tellCatalog();
    expect(world.active).toBe(2);
  });

  it("wakes an endpoint that has gone to sleep, and waits for a node where none is online", () => {
    const world = new GatedWorld([null], { min_replicas: 0 });
    const { id } = world.at(0);
    world.harness.call((core) => core.replicaGone(world.harness.podId, id, "idle", false));
    world.replicas.pop();
    world.harness.pass(10_000);
    world.hear([null]);
    expect(world.harness.core.demand(world.harness.podId)).toMatchObject({ wanted: 0 });
    world.wish(2);
    expect(world.harness.core.demand(world.harness.podId)).toMatchObject({ wanted: 1, needed: 1 });
    world.hear(NODES_GONE);
    expect(world.gate().pending).toMatchObject({ waits_for: "node", reason: expect.stringMatching(/^no_node_online/) });
    // Minutes later, a machine joins.
    world.harness.pass(600_000);
    expect(world.gate().pending).toMatchObject({ waits_for: "node" });
    world.replicas.push(world.harness.replica());
    world.hear([null]);
    world.report(world.at(0), 1);
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    world.say(world.at(0), errand, { state: "ready" });
    world.tellCatalog();
    expect(world.active).toBe(2);
    world.harness.pass(10_000);
    expect(world.harness.core.demand(world.harness.podId)).toMatchObject({ needed: 0 });
  });

  it("is taken from a replica that falls silent for a minute, also after a restart; one that speaks keeps it", () => {
    const world = new GatedWorld([null, null]);
    world.wish(2);
    world.hear();
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    for (let beat = 0; beat < 20; beat += 1) {
      world.harness.pass(10_000);
      expect(world.say(world.at(0), errand, { state: "verifying" })).toMatchObject({ stop: false });
      world.poll(world.at(1));
    }
    expect(world.state(2)?.verification).toMatchObject([{ state: "verifying", replica_id: world.at(0).id }]);
    world.harness.restart();
    world.harness.pass(61_000);
    expect(world.state(2)?.verification).toMatchObject([
      { state: "untried", error: expect.stringMatching(/silent|on its way out/) },
    ]);
    // What it says afterwards is not believed, but that the release has run is true.
    expect(world.say(world.at(0), errand, { state: "failed", error: "late", final: true })).toMatchObject({
      stop: true,
    });
    expect(world.gate().pending?.release).toBe(2);
    world.hear();
    world.say(world.at(0), errand, { state: "ready" });
    world.tellCatalog();
    expect(world.active).toBe(2);
  });

  it("stays with a replica that asks for jobs while it makes the build, and says so; else it is given up", () => {
    const world = new GatedWorld([null]);
    world.wish(2);
    world.hear();
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    const { id, node } = world.at(0);
    const ask = (poll_id: string, preparing: string) => {
      const poll = { poll_id, leases: [], verifies: false, preparing, wait_ms: 0 };
      const outcome = world.harness.call((core) => core.pollReplica(node, id, poll));
      if (outcome.type !== "answered" || !outcome.reply.ok) throw new Error("the poll was not answered");
      return outcome.reply.answer;
    };
    const job = world.harness.submit();
    // The job comes, and the errand stays.
    expect(ask("beside-000001", errand.id)).toMatchObject({ lease: { job_id: job } });
    expect(world.state(2)?.verification).toMatchObject([{ state: "building", replica_id: id }]);
    expect(world.say(world.at(0), errand, { state: "building" })).toMatchObject({ stop: false });
    ask("beside-000002", "another-errand");
    expect(world.state(2)?.verification).toMatchObject([{ state: "untried" }]);
  });

  it("is told to the catalog again and again until it answers, with longer and longer pauses", () => {
    const world = new GatedWorld([null]);
    world.wish(2);
    world.hear();
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    world.say(world.at(0), errand, { state: "ready" });
    const first = world.harness.core.readyWish()?.wish.tries ?? 0;
    world.harness.pass(120_000);
    const later = world.harness.core.readyWish()?.wish.tries ?? 0;
    expect(later).toBeGreaterThan(first + 1);
    expect(later).toBeLessThan(60);
    world.harness.restart();
    world.harness.pass(120_000);
    expect(world.harness.core.readyWish()?.wish.release).toBe(2);
    world.tellCatalog();
    expect([world.active, world.gate().pending]).toEqual([2, null]);
    expect(world.harness.core.readyWish()).toBeNull();
  });

  it("is tried as often as the first time when it is asked for again", () => {
    const world = new GatedWorld([null]);
    for (const round of [1, 2]) {
      world.wish(2);
      world.hear();
      for (let tries = 1; tries <= 2; tries += 1) {
        const errand = world.poll(world.at(0));
        if (errand === null) throw new Error("no errand");
        world.say(world.at(0), errand, { state: "failed", error: "no room on the disk" });
      }
      expect([round, world.gate().pending?.release]).toEqual([round, 2]);
      expect(world.wish(1)).toBe("active");
    }
  });

  it("keeps its replica, however short the idle timeout is", () => {
    const world = new GatedWorld([null], { min_replicas: 0, idle_timeout_s: 1 });
    world.wish(2);
    world.hear();
    const errand = world.poll(world.at(0));
    if (errand === null) throw new Error("no errand");
    for (let beat = 0; beat < 10; beat += 1) {
      world.harness.pass(5_000);
      expect(world.say(world.at(0), errand, { state: "verifying" }).stop).toBe(false);
    }
    expect(world.harness.core.demand(world.harness.podId)?.drain).toEqual([]);
  });
});

type Step =
  | { readonly type: "wish"; readonly release: number; readonly force: boolean }
  | { readonly type: "poll" | "ready" | "fail" | "trouble" | "restart" | "tell" | "hear" }
  | { readonly type: "pass"; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    type: fc.constant("wish" as const),
    release: fc.constantFrom(1, 2, 3),
    force: fc.nat(9).map((n) => n === 0),
  }),
  fc.record({
    type: fc.constantFrom(
      ...(["poll", "poll", "ready", "ready", "fail", "trouble", "restart", "tell", "tell", "hear", "hear"] as const),
    ),
  }),
  fc.record({ type: fc.constant("pass" as const), ms: fc.constantFrom(100, 5_000, 70_000) }),
);

describe("whatever happens to the releases of an endpoint", () => {
  it("the active one has run, or was forced; the last wish wins; and nothing waits for what has failed", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const world = new GatedWorld([null]);
        const ran = new Set([1]);
        const allowed = new Set([1]);
        let wished: number | null = null;
        let errand: { id: string; release: number } | null = null;
        for (const each of steps) {
          switch (each.type) {
            case "wish": {
              const decision = world.wish(each.release, { force: each.force });
              if (decision === "now") {
                // The Worker's part.
                expect(each.force || ran.has(each.release) || !world.gate().isActiveProven).toBe(true);
                allowed.add(each.release);
                world.active = each.release;
                world.harness.configure({ min_replicas: 1, max_replicas: 4 }, { release: each.release });
              }
              wished = decision === "waits" ? each.release : null;
              break;
            }
            case "poll":
              errand = world.poll(world.at(0)) ?? errand;
              break;
            case "ready":
              if (errand !== null) {
                world.say(world.at(0), errand, { state: "ready" });
                ran.add(errand.release);
              }
              break;
            case "fail":
            case "trouble":
              if (errand !== null)
                world.say(world.at(0), errand, { state: "failed", error: "no", final: each.type === "fail" });
              break;
            case "restart":
              world.harness.restart();
              break;
            case "tell":
              world.tellCatalog();
              break;
            case "hear":
              world.hear();
              break;
            case "pass":
              world.harness.pass(each.ms);
              break;
          }
          expect(ran.has(world.active) || allowed.has(world.active)).toBe(true);
          const { pending } = world.gate();
          if (pending !== null) {
            expect(pending.release).toBe(wished);
            expect(pending.state).not.toBe("failed");
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
