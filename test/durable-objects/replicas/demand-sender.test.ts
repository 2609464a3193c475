import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makeId, PodId } from "#contract/ids";
import { refusal } from "#contract/problems";
import { DemandSender } from "#durable-objects/endpoint/demand-sender";
import { EndpointHarness } from "../queue/endpoint-harness.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"] });
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** An endpoint, and a pod of it that was deleted: it refuses whatever it is asked. */
function withDeletedPod() {
  const world = new EndpointHarness();
  const setDemand = () => Promise.resolve(refusal("pod_not_found", "There is no such pod."));
  const sender = new DemandSender(
    (work) => world.call(work),
    () => ({ setDemand }),
    "picture",
  );
  const send = async (): Promise<void> => {
    vi.setSystemTime(world.now);
    await sender.send(world.podId);
    world.demandsToSend = 0;
  };
  /** Lets hours pass, and sends what is to be sent. */
  const live = async (hours: number): Promise<void> => {
    for (let minute = 0; minute < 60 * hours; minute += 1) {
      world.pass(60_000);
      if (world.demandsToSend > 0) await send();
    }
  };
  return { world, send, live };
}

describe("a pod that was deleted", () => {
  it("is forgotten by an endpoint that has left it", async () => {
    const { world, send, live } = withDeletedPod();
    world.submit();
    const replica = world.replica();
    world.answerDemand([replica]);
    world.pass(1_000);
    const other = makeId(PodId, "pod", world.now, (length) => new Uint8Array(length).fill(9));
    world.configure({}, { pods: [{ podId: other, lanes: ["interactive", "batch"] }] });
    world.call((core) => core.replicaGone(world.podId, replica.id, "It has stopped.", false));
    await send();
    await live(1);
    expect(world.core.pods()).toEqual([other]);
    expect(world.leftPods).toEqual([world.podId]);
  });

  it("does not keep a deleted endpoint from being erased", async () => {
    const { world, live } = withDeletedPod();
    world.configure({ min_replicas: 1 });
    world.answerDemand([world.replica()]);
    world.pass(1_000);
    world.call((core) => core.remove(world.workspaceId));
    await live(1);
    expect(world.erased).toBe(true);
    expect(new Set(world.leftPods)).toEqual(new Set([world.podId]));
    expect(world.core.podChanged(makeId(PodId, "pod", world.now, (length) => new Uint8Array(length)))).toBe(false);
  });

  it("is why jobs wait that could run nowhere else", async () => {
    const { world, send } = withDeletedPod();
    const id = world.submit();
    await send();
    const reply = world.core.whyJob(world.workspaceId, id);
    expect(reply.ok && reply.why.summary).toContain("The pod has been deleted.");
  });
});
