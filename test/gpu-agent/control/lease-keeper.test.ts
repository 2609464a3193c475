import { afterEach, beforeEach, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import type { JobId } from "#contract/ids";
import { AgentCalls } from "#gpu-agent/control/agent-calls";
import { ControlClient } from "#gpu-agent/control/control-client";
import { type LeaseEnd, LeaseKeeper } from "#gpu-agent/control/lease-keeper";
import { ControlPlane } from "#test/fakes/control-plane";
import { comesTrue, keptLog, quickTimings } from "#test/gpu-agent/quick-timings";

let plane: ControlPlane;
let keeper: LeaseKeeper;
let lease: Lease;
let jobId: JobId;
let session: string;
const ends: LeaseEnd[] = [];

beforeEach(async () => {
  plane = await ControlPlane.start({ leaseConfirmMs: 5_000, leaseMs: 5_000 });
  session = plane.state.join().session;
  const endpointId = plane.state.addEndpoint({ graph: "{}", inputs: [], outputs: [] });
  const replicaId = plane.state.place(endpointId, 0);
  jobId = plane.state.enqueue(endpointId, {});
  const granted = plane.state.grant(replicaId, "poll-of-the-test");
  if (granted === null) throw new Error("no lease");
  lease = granted;
  ends.length = 0;
  const { log } = keptLog();
  const client = new ControlClient({ url: plane.url, session: () => session, log, timings: quickTimings() });
  keeper = new LeaseKeeper({
    calls: new AgentCalls(client),
    lease,
    renewMs: 300,
    progressMs: 50,
    log,
    onEnd: (end) => void ends.push(end),
  });
});

afterEach(async () => {
  keeper.stop();
  await plane.close();
});

const beats = () => plane.state.jobs.get(jobId)?.progress ?? [];
const progress = (fraction: number) => ({ fraction, nodes_done: 0, nodes_total: 1 });

it("confirms at once and renews at its pace", async () => {
  void keeper.start();
  await comesTrue("it renews", () => beats().length >= 3);
  expect(beats()[0]).toEqual({ phase: "assigned" });
  expect(ends).toEqual([]);
});

it("tells news soon, the newest only, and repeats what it knows", async () => {
  void keeper.start();
  await comesTrue("it confirmed", () => beats().length === 1);
  for (let step = 1; step <= 100; step += 1) keeper.progress(progress(step / 100));
  keeper.phase("executing");
  keeper.preview({ content_type: "image/jpeg", data: "AAAA" });
  await comesTrue("it told", () => beats().length >= 3);
  expect(beats()[1]).toEqual({
    phase: "executing",
    progress: progress(1),
    preview: { content_type: "image/jpeg", data: "AAAA" },
  });
  expect(beats()[2]).toEqual({ phase: "executing", progress: progress(1) });
});

it("tells at once that the GPU is free, however lately it has told something", async () => {
  const { log } = keptLog();
  const client = new ControlClient({ url: plane.url, session: () => session, log, timings: quickTimings() });
  const calls = new AgentCalls(client);
  keeper = new LeaseKeeper({ calls, lease, renewMs: 600_000, progressMs: 600_000, log, onEnd: () => undefined });
  void keeper.start();
  await comesTrue("it confirmed", () => beats().length === 1);
  keeper.uploads();
  await comesTrue("it told", () => beats().length === 2);
  expect(beats()[1]).toEqual({ phase: "uploading" });
});

it("goes on through an outage", async () => {
  void keeper.start();
  await comesTrue("it confirmed", () => beats().length === 1);
  await plane.stop();
  await plane.listen();
  await comesTrue("it renews again", () => beats().length >= 3);
  expect(ends).toEqual([]);
});

it("says once that the job was canceled, and sends nothing more", async () => {
  const over = keeper.start();
  await comesTrue("it confirmed", () => beats().length === 1);
  plane.state.cancel(jobId);
  await over;
  keeper.progress(progress(1));
  expect(ends).toEqual(["canceled"]);
});

it("says that the lease is lost", async () => {
  void keeper.start();
  plane.state.loseLeaseOf(jobId);
  await comesTrue("it knows", () => ends.length === 1);
  expect(ends).toEqual(["lost"]);
});

it("leaves the decision to the final report once that is on its way", async () => {
  void keeper.start();
  await comesTrue("it confirmed", () => beats().length === 1);
  keeper.settle();
  plane.state.loseLeaseOf(jobId);
  const asked = plane.requests.length;
  await comesTrue("it asked again", () => plane.requests.length > asked + 1);
  expect(ends).toEqual([]);
});
