import { describe, expect, it } from "vitest";
import type { PollOrder } from "#contract/agent";
import type { EndpointId, NodeId, ReplicaId } from "#contract/ids";
import { pollAge } from "#durable-objects/pod/poll-order";
import { held, PodHarness } from "./pod-harness.ts";

const at = (start: number, seq: number): PollOrder => ({ start, seq });

describe("the age of a poll", () => {
  it.each([
    ["the first one", at(5, 0), null, "latest"],
    ["the next one", at(5, 8), at(5, 7), "latest"],
    ["the same one again", at(5, 7), at(5, 7), "latest"],
    ["one that was overtaken", at(5, 6), at(5, 7), "late"],
    ["one of a later start", at(6, 0), at(5, 7), "latest"],
    ["one of an earlier start", at(4, 99), at(5, 7), "displaced"],
    ["one of an agent that does not say", undefined, at(5, 7), "latest"],
  ] as const)("%s", (_, order, last, age) => {
    expect(pollAge(order, last)).toBe(age);
  });
});

interface Running {
  readonly pod: PodHarness;
  readonly node: NodeId;
  readonly endpoint: EndpointId;
  readonly replicaId: ReplicaId;
  readonly lives: () => boolean;
}

/** A node that has reported its replica in the poll (100, 2). */
function running(): Running {
  const pod = new PodHarness();
  const node = pod.node();
  const endpoint = pod.endpoint();
  pod.demand(endpoint, 1);
  const answer = pod.poll(node, [], { waitMs: 0, order: at(100, 1) });
  const replicaId = typeof answer === "string" ? undefined : answer[0]?.replica_id;
  if (replicaId === undefined) throw new Error("nothing is wanted");
  pod.poll(node, [held(replicaId)], { waitMs: 0, order: at(100, 2) });
  return { pod, node, endpoint, replicaId, lives: () => pod.core.verifyReplica(endpoint, replicaId, node) };
}

describe("polls that arrive out of order", () => {
  it("do not end a replica, whether the late one was seen before or not", () => {
    const { pod, node, replicaId, lives } = running();
    for (const seq of [0, 1]) {
      expect(pod.poll(node, [], { order: at(100, seq) })).toMatchObject([{ replica_id: replicaId, action: "run" }]);
      expect(lives()).toBe(true);
    }
    expect(pod.farewells()).toEqual([]);
  });

  it("neither drain the node nor move it", () => {
    const { pod, node } = running();
    pod.poll(node, [], { order: at(100, 1), draining: true, region: "eu-west", slots: 9 });
    expect(pod.core.listNodes(pod.workspaceId)).toMatchObject({
      nodes: [{ draining: false, region: null, slots: [{ slot: 0 }] }],
    });
  });

  it("leave the newer one waiting, and do not delay what it is told", () => {
    const { pod, node, endpoint, replicaId } = running();
    expect(pod.poll(node, [held(replicaId)], { order: at(100, 4), pollId: "newer-poll" })).toBe("waiting");
    pod.poll(node, [], { order: at(100, 3) });
    expect(pod.waiting.get(node)).toBe("newer-poll");
    pod.demand(endpoint, 0, { drain: [replicaId] });
    expect(pod.answers.at(-1)?.answer.replicas).toMatchObject([{ action: "drain" }]);
  });

  it("are known as such after a restart of the object", () => {
    const { pod, node, lives } = running();
    pod.restart();
    pod.poll(node, [], { order: at(100, 1) });
    expect(lives()).toBe(true);
  });

  it("count as no sign of life", () => {
    const { pod, node, lives } = running();
    for (let second = 0; second < 30 && lives(); second += 1) {
      pod.pass(1_000);
      pod.poll(node, [], { order: at(100, 0) });
    }
    expect(lives()).toBe(false);
  });

  it("are still taken when they are news: the replica that the next one misses has ended", () => {
    const { pod, node, replicaId, lives } = running();
    pod.poll(node, [], { waitMs: 0, order: at(100, 3) });
    expect(lives()).toBe(false);
    expect(pod.farewells()).toMatchObject([{ replicaId }]);
  });
});

describe("an agent that starts anew", () => {
  it("speaks for the node from its first poll on, and the dead one's last words are not heard", () => {
    const { pod, node, replicaId, lives } = running();
    pod.poll(node, [], { waitMs: 0, order: at(101, 0) });
    expect(lives()).toBe(false);
    pod.pass(5_000);
    const fresh = pod.poll(node, [], { waitMs: 0, order: at(101, 0) });
    const next = typeof fresh === "string" ? undefined : fresh[0]?.replica_id;
    if (next === undefined) throw new Error("nothing is wanted");
    expect(pod.poll(node, [held(next)], { order: at(101, 1) })).toBe("waiting");
    expect(pod.poll(node, [held(replicaId)], { order: at(100, 3) })).toBe("refused");
    expect(pod.core.listNodes(pod.workspaceId)).toMatchObject({ nodes: [{ slots: [{ replica_id: next }] }] });
    expect(pod.waiting.has(node)).toBe(true);
  });

  it("is believed although the dead one was never heard before", () => {
    const pod = new PodHarness();
    const node = pod.node();
    const endpoint = pod.endpoint();
    pod.demand(endpoint, 1);
    const answer = pod.poll(node, [], { waitMs: 0, order: at(8, 0) });
    const replicaId = (typeof answer === "string" ? undefined : answer[0]?.replica_id) ?? ("" as ReplicaId);
    pod.poll(node, [held(replicaId)], { waitMs: 0, order: at(8, 1) });
    pod.restart();
    expect(pod.poll(node, [], { order: at(7, 0) })).toBe("refused");
    expect(pod.core.verifyReplica(endpoint, replicaId, node)).toBe(true);
  });
});

describe("two agents with copies of one session", () => {
  it("do not end each other's replicas in turn: the one started later stays, the other must join again", () => {
    const { pod, node, replicaId } = running();
    pod.poll(node, [], { waitMs: 0, order: at(200, 0) });
    pod.pass(5_000);
    const taken = pod.poll(node, [], { waitMs: 0, order: at(200, 0) });
    const mine = (typeof taken === "string" ? undefined : taken[0]?.replica_id) ?? ("" as ReplicaId);
    for (let round = 1; round < 5; round += 1) {
      expect(pod.poll(node, [held(replicaId)], { waitMs: 0, order: at(100, 10 + round) })).toBe("refused");
      expect(pod.poll(node, [held(mine)], { waitMs: 0, order: at(200, round) })).toMatchObject([
        { replica_id: mine, action: "run" },
      ]);
    }
    expect(new Set(pod.farewells().map((said) => said.replicaId))).toEqual(new Set([replicaId]));
  });
});

describe("an agent that does not number its polls", () => {
  it("is heard as before", () => {
    const { pod, node, lives } = running();
    pod.poll(node, [], { waitMs: 0 });
    expect(lives()).toBe(false);
  });
});
