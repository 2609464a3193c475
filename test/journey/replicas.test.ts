/** What replicas do, seen from outside, with a real agent that makes builds. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseExactJson } from "#contract/exact-json";
import type { Replica } from "#contract/replica";
import { runAgent } from "#gpu-agent/main";
import { AgentSettings } from "#gpu-agent/settings";
import { BuildBench, missingPrograms, tinySafetensors } from "#test/gpu-agent/builds/build-fixtures";
import { quickTimings } from "#test/gpu-agent/quick-timings";
import { System } from "#test/journey/system";
import { until } from "#test/until";

const GRAPH = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "tiny.safetensors" } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "p" } },
};
/** How far the server's account of a replica's time may be from what was seen of it, s. */
const TOLERANCE_S = 1;

const isMissing = missingPrograms() !== null;
let bench: BuildBench;
let system: System;
let agentState: string;
const stopAgent = new AbortController();
let agent: Promise<void> = Promise.resolve();

beforeAll(async () => {
  if (isMissing) return;
  bench = new BuildBench();
  agentState = mkdtempSync(join(tmpdir(), "pilotlight-agent-"));
  system = await System.start({ args: ["--no-agent"] });
  const token = await system.client.pods.createJoinToken(system.podId);
  const settings = AgentSettings.parse({
    url: system.url,
    joinToken: token.token,
    name: "a node that makes builds",
    stateDirectory: agentState,
    comfy: { kind: "builds", pythons: [], allowFiles: true, metadata: false },
    slots: 2,
    freeBytesMin: 0,
    timings: quickTimings(),
  });
  const signals = { drain: stopAgent.signal, hurry: stopAgent.signal };
  agent = runAgent(settings, signals, { log: () => undefined, runProgram: () => Promise.reject(new Error("no GPU")) });
  agent.catch(() => undefined);
});
afterAll(async () => {
  stopAgent.abort(new Error("the test is over"));
  await agent.catch(() => undefined);
  await system?.stop();
  bench?.close();
  if (agentState !== undefined) rmSync(agentState, { recursive: true, force: true });
});

async function deploy(slug: string, more: Parameters<BuildBench["manifest"]>[0]): Promise<void> {
  const { manifest } = await bench.manifest(more);
  const build = await system.client.builds.create(manifest);
  const settings = { max_replicas: 2, min_replicas: 1 };
  const workflow = parseExactJson(JSON.stringify(GRAPH)) as Record<string, unknown>;
  await system.client.endpoints.create({ slug, workflow, build: build.digest, settings });
}

const replicaThat = (
  what: string,
  slug: string,
  fits: (replica: Replica) => boolean,
  state: "current" | "all" = "all",
) => until(what, async () => (await system.client.replicas.list(slug, state)).find(fits), 110_000);

describe.skipIf(isMissing)("replicas of builds", () => {
  it("whose install fails say so in their log, line by line, without the machine's folders", async () => {
    const { line, path } = bench.wheel("greetings", "1.0", "");
    await deploy("failing", { pipDependencies: [line.replace(path, `${path}.gone.whl`)] });
    const crashed = await replicaThat("a replica crashes", "failing", ({ state }) => state === "crashed");
    expect(crashed.error).toContain("The Python packages cannot be installed");
    const { data, next } = await system.client.replicas.logs("failing", crashed.id);
    const text = data.map((each) => each.line).join("\n");
    expect(text).toContain("comfyui: $ git");
    expect(text).toMatch(/^python: .*greetings-1\.0-py3-none-any\.whl\.gone/m);
    expect(text).not.toContain(agentState);
    expect(data.map(({ number }) => number)).toEqual(data.map((_, index) => index));
    expect(next).toBe(data.length);
    expect((await system.client.replicas.logs("failing", crashed.id, next)).data).toEqual([]);
    await system.client.endpoints.delete("failing");
  });

  it("are replaced with a new one first, and their time is what was seen of it", async () => {
    await deploy("fine", { models: [bench.model("checkpoints", "tiny.safetensors", tinySafetensors(7))] });
    const old = await replicaThat("one is ready", "fine", ({ state }) => state === "ready");
    const phases = old.phases.map(({ phase }) => phase);
    expect(phases).toEqual(expect.arrayContaining(["nodes", "weights", "boot", "warm_up"]));
    const ended = await system.client.jobs.submit("fine", { inputs: {} });
    expect((await system.client.jobs.wait(ended.id)).state).toBe("succeeded");
    await system.client.replicas.replace("fine", old.id);
    const fresh = await replicaThat(
      "a new one is ready",
      "fine",
      ({ id, state }) => id !== old.id && state === "ready",
    );
    const gone = await replicaThat(
      "the old one stops",
      "fine",
      ({ id, state }) => id === old.id && state === "stopped",
    );
    const at = (replica: Replica, name: string) =>
      Date.parse(replica.states.find(({ state }) => state === name)?.at ?? "");
    expect(at(gone, "stopped")).toBeGreaterThanOrEqual(at(fresh, "ready"));
    expect(gone.error).toBe(null);
    const { cold, idle, busy } = gone.seconds;
    expect(Math.abs(cold - (at(gone, "ready") - at(gone, "placed")) / 1_000)).toBeLessThanOrEqual(TOLERANCE_S);
    const lived = (at(gone, "stopped") - at(gone, "placed")) / 1_000;
    expect(Math.abs(cold + idle + busy - lived)).toBeLessThanOrEqual(TOLERANCE_S);
    expect(busy).toBeGreaterThan(0);
    const [day] = (await system.client.replicas.seconds("fine")).slice(-1);
    expect(day).toMatchObject({ pod_id: system.podId, crashed: 0 });
  });

  it("are stopped by hand, and started again where the warm floor needs one", async () => {
    const ready = await replicaThat("one is ready", "fine", ({ state }) => state === "ready", "current");
    const answer = await system.run("replicas", "stop", "fine", ready.id);
    expect(answer.code).toBe(0);
    await replicaThat("it stops", "fine", ({ id, state }) => id === ready.id && state === "stopped");
    await replicaThat("another starts", "fine", ({ id, state }) => id !== ready.id && state === "ready", "current");
  });

  it("give way one after the other to those of the next release's build, while jobs go on", async () => {
    const client = system.client;
    await client.endpoints.patch("fine", { settings: { min_replicas: 2 } });
    const ready = async () => (await client.replicas.list("fine")).filter(({ state }) => state === "ready");
    await until("two are ready", async () => ((await ready()).length === 2 ? true : undefined), 110_000);
    const before = (await client.replicas.list("fine")).map(({ id }) => id);
    const models = ["tiny.safetensors", "more.safetensors"].map((name, index) =>
      bench.model("checkpoints", name, tinySafetensors(7 + index)),
    );
    const { manifest } = await bench.manifest({ models });
    const { digest } = await client.builds.create(manifest);
    const asked = await client.endpoints.patch("fine", { build: digest });
    const release = asked.newest_release;
    await until(
      "the release is active, and both run its build",
      async () => {
        const job = await client.jobs.submit("fine", { inputs: {} });
        expect((await client.jobs.wait(job.id)).state).toBe("succeeded");
        const { release: active } = await client.endpoints.get("fine");
        const all = await client.replicas.list("fine", "all");
        const gone = all.filter(({ id, state }) => before.includes(id) && state === "stopped");
        return active.number === release && (await ready()).length === 2 && gone.length > 0 ? true : undefined;
      },
      110_000,
    );
    const crashed = (await client.replicas.list("fine")).filter(({ state }) => state === "crashed");
    expect(crashed).toEqual([]);
  });
});
