import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { saveSession, tokenHash } from "#gpu-agent/control/node-session";
import { isSameProcess } from "#gpu-agent/process-identity";
import { readIdentity } from "#gpu-agent/state-directory";
import { AgentHarness, type HarnessOptions, output, pictureGraph } from "#test/gpu-agent/agent-harness";
import { comesTrue } from "#test/gpu-agent/quick-timings";

let harness: AgentHarness;
afterEach(() => harness.close());

const specs = { outputs: [output("image", "2")] };

async function withEndpoint(options: HarnessOptions = {}) {
  harness = await AgentHarness.start(options);
  return harness.ready(pictureGraph, specs);
}

const phaseOf = (id: ReturnType<AgentHarness["plane"]["state"]["enqueue"]>) =>
  harness.plane.state.jobs.get(id)?.progress.at(-1)?.phase;

async function slowJob(endpointId: Parameters<AgentHarness["plane"]["state"]["enqueue"]>[0], slowMs: number) {
  await harness.faults({ slow_node_ms: slowMs });
  const id = harness.plane.state.enqueue(endpointId, {});
  await comesTrue("the job executes", () => phaseOf(id) === "executing");
  return id;
}

describe("an agent that is told to end", () => {
  it("finishes the job in hand, takes no other, says goodbye", async () => {
    const { endpointId, replicaId } = await withEndpoint();
    const id = await slowJob(endpointId, 500);
    const waiting = harness.plane.state.enqueue(endpointId, {});
    harness.drain();
    await harness.ended;
    expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
    expect(harness.plane.state.jobs.get(waiting)?.state).toBe("queued");
    expect(harness.stateOf(replicaId)).toBe("stopped");
    expect(harness.plane.polls.some((poll) => poll.draining && poll.replicas[0]?.state === "draining")).toBe(true);
    const last = harness.plane.polls.at(-1);
    expect(last?.draining).toBe(true);
    expect(last?.replicas.every((replica) => replica.state === "stopped")).toBe(true);
  });

  it("gives the job back when the time to drain is over: it costs no attempt", async () => {
    const { endpointId } = await withEndpoint({ timings: { drainMs: 200 } });
    const id = await slowJob(endpointId, 60_000);
    harness.drain();
    await harness.ended;
    expect(harness.plane.state.jobs.get(id)).toMatchObject({ state: "queued", attempts: 0, errors: [] });
    expect(harness.plane.state.jobs.get(id)?.givenBack).toHaveLength(1);
  });

  it("gives the job back at once at the second signal", async () => {
    const { endpointId } = await withEndpoint();
    const id = await slowJob(endpointId, 60_000);
    harness.drain();
    harness.hurry();
    await harness.ended;
    expect(harness.plane.state.jobs.get(id)?.givenBack).toHaveLength(1);
  });

  it("gives a lease back that comes while it drains: it costs no attempt", async () => {
    const { endpointId } = await withEndpoint({ timings: { pollWaitMs: 30_000 } });
    await comesTrue("its socket is open", () => harness.plane.sockets.size === 1);
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
    await comesTrue("the replica waits for the next one", () => harness.has("job_ended"));
    // The server has not heard that the replica drains, and the complete waits there as a poll.
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    harness.plane.plan(/^POST replicas\/[^/]+\/state$/, { type: "hold", until: heard });
    const id = harness.plane.state.enqueue(endpointId, {});
    expect(harness.plane.state.jobs.get(id)?.state).toBe("queued");
    harness.drain();
    await comesTrue("it came back", () => harness.plane.state.jobs.get(id)?.givenBack.length === 1);
    resolve();
    await harness.ended;
    expect(harness.plane.state.jobs.get(id)).toMatchObject({ state: "queued", attempts: 0, errors: [] });
  });

  it("leaves no process behind", async () => {
    await withEndpoint();
    const comfy = readIdentity(join(harness.slot, "comfyui.pid"));
    expect(comfy !== null && isSameProcess(comfy)).toBe(true);
    harness.drain();
    await harness.ended;
    expect(comfy !== null && isSameProcess(comfy)).toBe(false);
  });

  it("ends also while the server is down", async () => {
    await withEndpoint({ timings: { callMs: 1_000 } });
    await harness.plane.stop();
    harness.drain();
    await harness.ended;
  });
});

describe("a node's session", () => {
  it("is kept, readable by its owner alone, and used after a restart", async () => {
    await withEndpoint();
    const path = join(harness.stateDirectory, "session.json");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    harness.drain();
    await harness.ended;
    harness.startAgent();
    await comesTrue(
      "it polls again",
      () => harness.lines.filter((line) => line.event === "agent_started").length === 2,
    );
    await comesTrue("without a join", () => harness.has("node_session_found"));
    expect(harness.plane.requests.filter((each) => each === "POST nodes")).toHaveLength(1);
    expect(readFileSync(path, "utf8")).not.toContain(harness.plane.joinToken);
  });

  it("numbers its polls, and goes on above the last number after a restart", async () => {
    await withEndpoint({ settings: { region: "eu-west" } });
    harness.drain();
    await harness.ended;
    const before = harness.plane.polls.length;
    harness.startAgent();
    await comesTrue("it polls again", () => harness.plane.polls.length > before);
    const orders = harness.plane.polls.map(({ order }) => order ?? { start: -1, seq: -1 });
    const [last, next] = [orders[before - 1], orders[before]];
    expect(next?.start).toBeGreaterThan(last?.start ?? Number.POSITIVE_INFINITY);
    for (const [index, order] of orders.slice(1, before).entries()) {
      expect(order.start).toBe(orders[index]?.start);
      expect(order.seq).toBeGreaterThan(orders[index]?.seq ?? Number.POSITIVE_INFINITY);
    }
    expect(new Set(harness.plane.polls.map(({ region }) => region))).toEqual(new Set(["eu-west"]));
  });

  it("that is not taken any more is replaced by joining again", async () => {
    await withEndpoint({ timings: { pollWaitMs: 300 } });
    harness.plane.state.sessions.clear();
    await comesTrue(
      "it joined again",
      () => harness.plane.requests.filter((each) => each === "POST nodes").length === 2,
    );
    const node = [...harness.plane.state.sessions.values()][0];
    await comesTrue("it polls as the new node", () => harness.plane.requests.includes(`POST nodes/${node}/poll`));
  });

  it("is kept while the pod does not take the machine's cards: the agent asks again, and works when it is wanted", async () => {
    await withEndpoint({ timings: { pollWaitMs: 300, retryBaseMs: 10, retryMaxMs: 50 } });
    harness.plane.plan(/^POST nodes\/[^/]+\/poll$/, { type: "refuse", code: "gpu_mismatch" }, 5);
    await comesTrue("it says why once", () => harness.has("node_unwanted"));
    const polls = harness.plane.polls.length;
    await comesTrue("it polls again", () => harness.plane.polls.length > polls + 1);
    expect(harness.plane.requests.filter((each) => each === "POST nodes")).toHaveLength(1);
    expect(harness.plane.polls.at(-1)).toMatchObject({ agent_version: "0.1.0", name: expect.any(String) });
  });

  it("tells what the machine has when it joins and again when it is asked, and how it fares", async () => {
    await withEndpoint({ timings: { pollWaitMs: 300 } });
    const { plane } = harness;
    expect(plane.joins[0]).toMatchObject({ slots: 1, slots_per_gpu: 1, inventory: { builds: [], models: [] } });
    const told = () => plane.polls.filter(({ inventory }) => inventory !== undefined).length;
    plane.pollExtras = { send_inventory: true, metrics_every_ms: 1_000 };
    await comesTrue("it sends its inventory again", () => told() > 0);
    plane.pollExtras = {};
    await comesTrue("it sends its figures", () => plane.metrics.length >= 2);
    expect(plane.metrics.at(-1)).toMatchObject({ gpus: [], memory_total_mb: expect.any(Number) });
  });

  it("is over when it was removed: without another token the agent ends, and says how to join again", async () => {
    harness = await AgentHarness.start({
      lateStart: true,
      timings: { pollWaitMs: 300 },
      settings: { joinToken: undefined },
    });
    const { url, state } = harness.plane;
    const { nodeId, session } = state.join();
    const known = { node_id: nodeId, pod_id: state.podId, session, join_token_sha256: tokenHash("used up"), start: 1 };
    await saveSession(join(harness.stateDirectory, "session.json"), { url, ...known });
    harness.startAgent();
    const endpointId = state.addEndpoint({ graph: JSON.stringify(pictureGraph), inputs: [], ...specs });
    const replicaId = state.place(endpointId, 0);
    await comesTrue("it runs a replica", () => harness.stateOf(replicaId) === "ready");
    state.sessions.clear();
    await expect(harness.ended).rejects.toThrow("removed from its pod");
  });

  it("is refused with a wrong join token: the agent ends and says why", async () => {
    harness = await AgentHarness.start({ settings: { joinToken: "plj_wrong" } });
    await expect(harness.ended).rejects.toThrow("join token: unauthenticated: no such join token");
  });

  it("is asked for again under the same id when the answer was lost, by the agent's next start too", async () => {
    harness = await AgentHarness.start({ lateStart: true, timings: { callMs: 60_000 } });
    harness.plane.plan(/^POST nodes$/, { type: "lose_answer" });
    const { promise: never } = Promise.withResolvers<void>();
    harness.plane.plan(/^POST nodes$/, { type: "hold", until: never });
    harness.startAgent();
    // The first try was carried out, the second one is on its way.
    await comesTrue(
      "it asked twice",
      () => harness.plane.requests.filter((each) => each === "POST nodes").length === 2,
    );
    harness.drain();
    harness.hurry();
    await harness.ended.catch(() => undefined);
    harness.startAgent();
    await comesTrue("it has joined", () => harness.has("node_joined"));
    expect(harness.plane.joinIds).toHaveLength(2);
    expect(new Set(harness.plane.joinIds).size).toBe(1);
    expect(new Set(harness.plane.state.sessions.values()).size).toBe(1);
    expect(existsSync(join(harness.stateDirectory, "joining.json"))).toBe(false);
    // A session that is not taken any more is another matter: then it is a new node.
    harness.plane.state.sessions.clear();
    await comesTrue("it joined anew", () => harness.plane.joinIds.length === 3);
    expect(new Set(harness.plane.joinIds).size).toBe(2);
  });
});

describe("replicas", () => {
  it("are stopped when nobody wants them, and the slot is used again", async () => {
    const { replicaId } = await withEndpoint();
    harness.plane.state.want(replicaId, "gone");
    await comesTrue("it has stopped", () => harness.stateOf(replicaId) === "stopped");
    const next = await harness.ready(pictureGraph, specs);
    const job = await harness.jobIs(harness.plane.state.enqueue(next.endpointId, {}), "succeeded");
    expect(job.attempts).toBe(1);
  });

  it("finish their job before they drain", async () => {
    const { endpointId, replicaId } = await withEndpoint();
    const id = await slowJob(endpointId, 500);
    harness.plane.state.want(replicaId, "drain");
    expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
    await comesTrue("it has stopped", () => harness.stateOf(replicaId) === "stopped");
  });

  it("run side by side, one ComfyUI per slot, each endpoint's jobs on its own", async () => {
    harness = await AgentHarness.start({ settings: { slots: 2 } });
    const first = harness.plane.state.addEndpoint({ graph: JSON.stringify(pictureGraph), inputs: [], ...specs });
    const second = harness.plane.state.addEndpoint({ graph: JSON.stringify(pictureGraph), inputs: [], ...specs });
    const replicas = [harness.plane.state.place(first, 0), harness.plane.state.place(second, 1)];
    await comesTrue("both are ready", () => replicas.every((id) => harness.stateOf(id) === "ready"));
    const ids = [first, second].map((endpoint) => harness.plane.state.enqueue(endpoint, {}));
    for (const id of ids) await harness.jobIs(id, "succeeded");
    const ports = harness.lines
      .filter((line) => line.event === "comfy_ready")
      .map((line) => (line.fields as { port: number }).port);
    expect(new Set(ports).size).toBe(2);
  });

  it("whose ComfyUI cannot start are crashed with its last words, until the pod decides", async () => {
    harness = await AgentHarness.start({ comfy: { kind: "stand-in", args: ["--no-such-flag"] } });
    const endpointId = harness.plane.state.addEndpoint({ graph: JSON.stringify(pictureGraph), inputs: [], ...specs });
    const replicaId = harness.plane.state.place(endpointId, 0);
    await comesTrue("it has crashed", () => harness.stateOf(replicaId) === "crashed");
    const held = () => harness.plane.state.replicas.get(replicaId)?.held;
    await comesTrue("the pod knows it", () => held()?.state === "crashed");
    expect(held()?.error).toContain("unrecognized arguments: --no-such-flag");
    harness.plane.state.want(replicaId, "gone");
    await comesTrue("it is forgotten", () => harness.plane.polls.at(-1)?.replicas.length === 0);
  });

  it("fetch each release once, and run each job with its own", async () => {
    const { endpointId } = await withEndpoint();
    const blue = {
      ...pictureGraph,
      "1": { ...pictureGraph["1"], inputs: { ...pictureGraph["1"].inputs, color: 0x0000ff } },
    };
    harness.plane.state.addRelease(endpointId, { graph: JSON.stringify(blue), inputs: [], ...specs });
    const hashes = [];
    for (const release of [1, 2, 1, 2]) {
      const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { release }), "succeeded");
      hashes.push(job.outputs[0]?.sha256);
    }
    expect(hashes[0]).toBe(hashes[2]);
    expect(hashes[1]).toBe(hashes[3]);
    expect(hashes[0]).not.toBe(hashes[1]);
    expect(harness.plane.requests.filter((each) => each.endsWith("/release"))).toHaveLength(2);
  });

  it("are not started, with the reason, when the disk is full", async () => {
    harness = await AgentHarness.start({ settings: { freeBytesMin: 2 ** 52 } });
    const endpointId = harness.plane.state.addEndpoint({ graph: JSON.stringify(pictureGraph), inputs: [], ...specs });
    const replicaId = harness.plane.state.place(endpointId, 0);
    await comesTrue("it has crashed", () => harness.stateOf(replicaId) === "crashed");
    expect(harness.plane.state.replicas.get(replicaId)?.reports.at(-1)?.error).toContain("free disk space");
  });
});

describe("the program", () => {
  const start = (stateDirectory: string, ...more: string[]) =>
    spawn(process.execPath, ["gpu-agent/main.ts", "--state-directory", stateDirectory, "--stand-in", ...more], {
      env: { ...process.env, PILOTLIGHT_URL: harness.plane.url, PILOTLIGHT_JOIN_TOKEN: harness.plane.joinToken },
      stdio: ["ignore", "pipe", "pipe"],
    });

  it("that is killed leaves a ComfyUI, which its successor ends; its jobs run again", async () => {
    // This agent of the harness is only there for its folder and its control plane.
    harness = await AgentHarness.start({ plane: { leaseConfirmMs: 1_000, leaseMs: 2_000 } });
    harness.drain();
    await harness.ended;
    const first = start(harness.stateDirectory);
    const { endpointId } = await harness.ready(pictureGraph, specs);
    const comfy = readIdentity(join(harness.slot, "comfyui.pid"));
    first.kill("SIGKILL");
    await once(first, "exit");
    expect(comfy !== null && isSameProcess(comfy)).toBe(true);
    const id = harness.plane.state.enqueue(endpointId, {});
    const second = start(harness.stateDirectory);
    try {
      await harness.jobIs(id, "succeeded");
      expect(comfy !== null && isSameProcess(comfy)).toBe(false);
      second.kill("SIGTERM");
      const [code] = (await once(second, "exit")) as [number | null];
      expect(code).toBe(0);
    } finally {
      second.kill("SIGKILL");
    }
  });

  it("refuses to share its folder with another one", async () => {
    await withEndpoint();
    const second = start(harness.stateDirectory);
    let text = "";
    second.stderr.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    const [code] = (await once(second, "close")) as [number | null];
    expect(code).toBe(1);
    expect(text).toContain("another agent");
  });
});
