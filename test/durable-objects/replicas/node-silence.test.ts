import { describe, expect, it } from "vitest";
import type { ReplicaId } from "#contract/ids";
import { LONG_POLL_MS, NODE_LOST_MS } from "#contract/limits";
import { held, PodHarness } from "./pod-harness.ts";

/** A node with one replica, which it has reported in a poll that waits for its whole time. */
function waitingNode() {
  const pod = new PodHarness();
  const node = pod.node();
  const endpoint = pod.endpoint();
  pod.demand(endpoint, 1);
  const replicaId = pod.wanted(node);
  const beat = () => pod.poll(node, [held(replicaId)], { pollId: "the-open-poll" });
  expect(beat()).toBe("waiting");
  return { pod, node, endpoint, replicaId, lives: () => pod.core.verifyReplica(endpoint, replicaId, node) };
}

describe("the silence of a node", () => {
  it("begins when its connection ends: an agent that was killed is noticed from then on", () => {
    const { pod, node, lives } = waitingNode();
    pod.pass(3_000);
    pod.call((core) => core.abandonPoll(node, "the-open-poll"));
    pod.pass(NODE_LOST_MS - 1);
    expect(lives()).toBe(true);
    pod.pass(1);
    expect(lives()).toBe(false);
    expect(pod.farewells()).toMatchObject([{ silent: true }]);
  });

  it("begins when its poll's time is over: a machine that lost its power is noticed then", () => {
    const { pod, node, lives } = waitingNode();
    pod.pass(LONG_POLL_MS);
    pod.call((core) => core.pollTimedOut(node, "the-open-poll"));
    pod.pass(NODE_LOST_MS - 1);
    expect(lives()).toBe(true);
    pod.pass(1);
    expect(lives()).toBe(false);
  });

  it("begins at the latest when its poll should have ended, whatever became of it", () => {
    const { pod, lives } = waitingNode();
    pod.pass(LONG_POLL_MS + NODE_LOST_MS - 1);
    expect(lives()).toBe(true);
    pod.pass(1);
    expect(lives()).toBe(false);
  });

  it("begins with an answer that never arrived, and ends when the agent has called the connection dead", () => {
    const { pod, node, endpoint, replicaId, lives } = waitingNode();
    pod.demand(endpoint, 0, { drain: [replicaId] });
    expect(pod.answers).toHaveLength(1);
    pod.pass(16_000);
    pod.poll(node, [held(replicaId, "draining")]);
    pod.pass(NODE_LOST_MS);
    expect(lives()).toBe(true);
  });

  it("does not begin with the end of a poll that another has replaced", () => {
    const { pod, node, replicaId, lives } = waitingNode();
    pod.pass(1_000);
    pod.poll(node, [held(replicaId)], { pollId: "the-next-poll" });
    pod.call((core) => core.abandonPoll(node, "the-open-poll"));
    pod.pass(LONG_POLL_MS + NODE_LOST_MS - 1);
    expect(lives()).toBe(true);
  });

  it("is broken by each poll, for as long as they come", () => {
    const { pod, node, replicaId, lives } = waitingNode();
    for (let round = 0; round < 20; round += 1) {
      pod.pass(LONG_POLL_MS);
      pod.call((core) => core.pollTimedOut(node, pod.waiting.get(node) ?? ""));
      pod.pass(2_000);
      expect(pod.poll(node, [held(replicaId)])).toBe("waiting");
    }
    expect(lives()).toBe(true);
  });
});

describe("a poll whose client has gone", () => {
  it("has told nobody anything: the next one gets the answer at once", () => {
    const pod = new PodHarness();
    const node = pod.node();
    expect(pod.poll(node, [], { pollId: "the-open-poll" })).toBe("waiting");
    const { replicas } = pod.demand(pod.endpoint(), 1);
    expect(pod.answers).toHaveLength(1);
    pod.pass(3_000);
    pod.call((core) => core.abandonPoll(node, "the-open-poll"));
    expect(pod.poll(node)).toMatchObject([{ replica_id: replicas[0]?.replicaId }]);
  });

  it("is answered with what the node should run when its time is over", () => {
    const { pod, node, replicaId } = waitingNode();
    const answer = pod.call((core) => core.pollTimedOut(node, "the-open-poll"));
    expect(answer.replicas).toMatchObject([{ replica_id: replicaId satisfies ReplicaId, action: "run" }]);
  });
});
