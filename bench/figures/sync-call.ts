/** A: what one synchronous call costs beyond the same call made straight to ComfyUI. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { startFloor } from "#bench/floor/floor";
import { ComfyCaller } from "#bench/load/comfy-caller";
import { Connection, headerOf } from "#bench/load/connection";
import { startProgram } from "#bench/load/program";
import { type Figure, inTurns, median, type Series, type Subject } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { startProduct } from "#bench/product/product";
import { graphOf, jobBody, nextJob } from "#bench/subject";

const STAND_IN = fileURLToPath(new URL("../../gpu-agent/stand-in/main.ts", import.meta.url));
const FLOOR_AGENT = fileURLToPath(new URL("../floor/agent.ts", import.meta.url));
/** Of each of the graph's two nodes: 50 ms of service. */
const NODE_MS = 25;
const SLUG = "one-colour";
const PNG = Buffer.from("89504e470d0a1a0a", "hex");

const StandInReady = z.object({ port: z.int() });

export async function syncCall(plan: Plan): Promise<Figure> {
  const standIn = await startProgram(
    STAND_IN,
    ["--port", "0", "--base-directory", join(plan.folder, "comfyui"), "--fault-slow-node-ms", String(NODE_MS)],
    { stopBy: "kill", errors: "ignore" },
  );
  const comfyUrl = `http://127.0.0.1:${StandInReady.parse(JSON.parse(standIn.ready)).port}`;
  const floor = await startFloor(join(plan.folder, "floor"));
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  const floorAgent = await startProgram(FLOOR_AGENT, [floor.url, comfyUrl], { stopBy: "kill" });
  try {
    await product.stack.startAgent({ kind: "url", url: comfyUrl, found: null });
    await product.stack.client.endpoints.create({ slug: SLUG, workflow: graphOf(0), settings: { min_replicas: 1 } });
    const { url, credentials } = product.stack;
    const comfy = await ComfyCaller.open(comfyUrl);
    const calls = {
      direct: () => comfy.picture(graphOf(nextJob() % 16_777_216)),
      floor: await floorCall(floor.url),
      product: await productCall(url, credentials.key),
    };
    // The product's replica starts with its first job.
    await calls.product();
    const subjects = Object.entries(calls).map(([name, call]) => timeOf(name, call, plan.samples));
    const series = await inTurns(subjects, plan.rounds, plan.say);
    comfy.close();
    const [direct, atFloor, measured] = series;
    if (direct === undefined || atFloor === undefined || measured === undefined) throw new Error("a series is missing");
    const beyond = (one: Series): number => median(one.rounds.map((ms, round) => ms - (direct.rounds[round] ?? ms)));
    return {
      id: "A",
      title: `One call, \`Prefer: wait\` to the picture's bytes, ${2 * NODE_MS} ms of service, p50`,
      series,
      bars: [
        {
          what: "(product - direct) / (floor - direct)",
          value: beyond(measured) / beyond(atFloor),
          bound: 1.5,
          is: "at most",
        },
        { what: "product - direct, ms", value: beyond(measured), bound: 10, is: "at most" },
      ],
      notes: [`floor - direct: ${beyond(atFloor).toFixed(1)} ms; product - direct: ${beyond(measured).toFixed(1)} ms`],
    };
  } finally {
    await floorAgent.stop();
    await product.stop();
    await floor.stop();
    await standIn.stop();
  }
}

function timeOf(name: string, call: () => Promise<Buffer>, samples: number): Subject {
  const measure = async (): Promise<number> => {
    const times: number[] = [];
    while (times.length < samples) {
      const startedAt = performance.now();
      const picture = await call();
      times.push(performance.now() - startedAt);
      if (!picture.subarray(0, PNG.length).equals(PNG)) throw new Error(`${name} gave no picture`);
    }
    return median(times);
  };
  return { name, unit: "ms", measure };
}

async function floorCall(url: string): Promise<() => Promise<Buffer>> {
  const connection = await Connection.open(url);
  return async () => {
    const done = await connection.send({ method: "POST", path: "/calls", body: jobBody(nextJob()) });
    return done.body;
  };
}

async function productCall(url: string, key: string): Promise<() => Promise<Buffer>> {
  const connection = await Connection.open(url);
  return async () => {
    const job = nextJob();
    const done = await connection.send({
      method: "POST",
      path: `/v1/endpoints/${SLUG}/jobs`,
      headers: {
        authorization: `Bearer ${key}`,
        accept: "image/png",
        "content-type": "application/json",
        "idempotency-key": `bench-${job}`,
        prefer: "wait=60",
      },
      body: jobBody(job),
    });
    const type = headerOf(done, "content-type");
    if (done.status !== 200 || type !== "image/png")
      throw new Error(`the call was answered ${done.status} with ${type}`);
    return done.body;
  };
}
