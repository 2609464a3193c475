/** G: the first job after a replica is ready, beside the second: what only the first run costs is paid before. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { Connection } from "#bench/load/connection";
import { startProgram } from "#bench/load/program";
import { type Figure, median, ratio, type Series, shown } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { type Product, startProduct } from "#bench/product/product";

const STAND_IN = fileURLToPath(new URL("../../gpu-agent/stand-in/main.ts", import.meta.url));
/** Each node of a run, and reading the checkpoint, which the first run does. */
const NODE_MS = 250;
const LOAD_MS = 3_000;
/** A replica that is not ready by then never will be. */
const READY_MS_MAX = 120_000;
const LOOK_MS = 100;

const StandInReady = z.object({ port: z.int() });
const Executions = z.array(z.object({ started_at: z.number(), ended_at: z.number() }));

export async function firstJob(plan: Plan): Promise<Figure> {
  const flags = ["--fault-slow-node-ms", String(NODE_MS), "--fault-model-load-ms", String(LOAD_MS)];
  const standIn = await startProgram(
    STAND_IN,
    ["--generation", "newer", "--port", "0", "--base-directory", join(plan.folder, "comfyui"), ...flags],
    { stopBy: "kill", errors: "ignore" },
  );
  const url = `http://127.0.0.1:${StandInReady.parse(JSON.parse(standIn.ready)).port}`;
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  try {
    await product.stack.startAgent({ kind: "url", url, found: null });
    const comfy = await Connection.open(url);
    const runs: Run[] = [];
    // As everywhere, a round before the first one does not count: the server's own code is as new as the replica then.
    for (let round = 0; round <= plan.rounds; round += 1) {
      const run = await oneReplica(product, comfy, `first-${round}`);
      const name = round === 0 ? "warm-up" : `round ${round} of ${plan.rounds}`;
      plan.say(`${name}: ${shown(run.first)} ms, then ${shown(run.second)} ms`);
      if (round > 0) runs.push(run);
    }
    comfy.close();
    const series = (name: string, of: (run: Run) => number): Series => ({ name, unit: "ms", rounds: runs.map(of) });
    const [first, second] = [series("first job", (run) => run.first), series("second job", (run) => run.second)];
    const before = series("the run before it was ready, in ComfyUI", (run) => run.before);
    if (median(before.rounds) < LOAD_MS) throw new Error("no weights were loaded before the replica was ready");
    return {
      id: "G",
      title: `The first job after a replica is ready, whose checkpoint takes ${LOAD_MS / 1_000} s to load`,
      series: [first, second, before],
      bars: [{ what: "first / second", value: ratio(first, second), bound: 1.1, is: "at most" }],
      notes: ["From the submit to the recorded end. Between two rounds ComfyUI forgets its models and results."],
    };
  } finally {
    await product.stop();
    await standIn.stop();
  }
}

interface Run {
  readonly before: number;
  readonly first: number;
  readonly second: number;
}

/** A fresh endpoint's replica, from a ComfyUI that has nothing in memory, and two jobs for it. */
async function oneReplica({ stack: { client } }: Product, comfy: Connection, slug: string): Promise<Run> {
  const body = JSON.stringify({ unload_models: true, free_memory: true });
  const headers = { "content-type": "application/json" };
  const freed = await comfy.send({ method: "POST", path: "/free", headers, body });
  if (freed.status !== 200) throw new Error(`ComfyUI answered ${freed.status}`);
  const known = (await executions(comfy)).length;
  const settings = { min_replicas: 1, max_replicas: 1 };
  await client.endpoints.create({ slug, workflow: graph, settings });
  const deadline = performance.now() + READY_MS_MAX;
  while (!(await client.endpoints.replicas(slug)).some(({ state }) => state === "ready")) {
    if (performance.now() > deadline) throw new Error("the replica is never ready");
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  const before = (await executions(comfy)).slice(known).map((each) => each.ended_at - each.started_at);
  const timed = async (seed: number): Promise<number> => {
    const startedAt = performance.now();
    const { id } = await client.jobs.submit(slug, { inputs: { seed } });
    const { state } = await client.jobs.wait(id);
    if (state !== "succeeded") throw new Error(`a job of the bench is ${state}`);
    return performance.now() - startedAt;
  };
  const run = { before: Math.max(0, ...before), first: await timed(1), second: await timed(2) };
  await client.endpoints.delete(slug);
  return run;
}

async function executions(comfy: Connection): Promise<z.infer<typeof Executions>> {
  const answer = await comfy.send({ method: "GET", path: "/stand-in/executions" });
  return Executions.parse(JSON.parse(answer.body.toString()));
}

const sampler = { steps: 4, cfg: 7, sampler_name: "euler", scheduler: "normal", denoise: 1 };

/** Text to a small picture. */
const graph = {
  1: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd_xl_base_1.0.safetensors" } },
  2: { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: "a lighthouse" } },
  3: { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: "fog" } },
  4: { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 1 } },
  5: {
    class_type: "KSampler",
    inputs: { model: ["1", 0], positive: ["2", 0], negative: ["3", 0], latent_image: ["4", 0], seed: 0, ...sampler },
  },
  6: { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["1", 2] } },
  7: { class_type: "SaveImage", inputs: { images: ["6", 0], filename_prefix: "bench" } },
};
