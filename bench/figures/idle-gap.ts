/** F: how long ComfyUI idles between two queued jobs, with and without one job ahead. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { Connection } from "#bench/load/connection";
import { type Program, startProgram } from "#bench/load/program";
import { type Figure, inTurns, median, type Subject } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { type Product, startProduct } from "#bench/product/product";
import { nextJob } from "#bench/subject";

const STAND_IN = fileURLToPath(new URL("../../gpu-agent/stand-in/main.ts", import.meta.url));
/** Of each of the graph's two nodes, beside what writing 2 MB takes: about 50 ms of service. */
const NODE_MS = 5;
/** Jobs of one round. Fewer than a replica takes between two looks at its disk, for which it stops. */
const JOBS = 24;
const SLUG = "two-megabytes";
/** The agent's switch. */
const NO_LEASE_AHEAD = "PILOTLIGHT_NO_LEASE_AHEAD";

const StandInReady = z.object({ port: z.int() });
const Executions = z.array(z.object({ prompt_id: z.string(), started_at: z.number(), ended_at: z.number() }));

export async function idleGap(plan: Plan): Promise<Figure> {
  const systems: GapSystem[] = [];
  try {
    for (const isAhead of [true, false]) systems.push(await GapSystem.start(plan, isAhead));
    const subjects: Subject[] = systems.map((system) => ({
      name: system.isAhead ? "one job ahead" : "one after the other",
      unit: "ms",
      measure: () => system.gap(),
    }));
    const series = await inTurns(subjects, plan.rounds, plan.say);
    const [ahead] = series;
    if (ahead === undefined) throw new Error("a series is missing");
    const serviceMs = median(systems.map((system) => system.serviceMs));
    return {
      id: "F",
      title: `ComfyUI idles between two queued jobs: ${serviceMs.toFixed(0)} ms of service, 2 MB of output, p50`,
      series,
      bars: [{ what: "one job ahead, ms", value: median(ahead.rounds), bound: 5, is: "at most" }],
      notes: ["From the end of a prompt to the beginning of the next one, by the stand-in's clock."],
    };
  } finally {
    for (const system of systems) await system.stop();
  }
}

/** A product with one replica on a stand-in of its own. */
class GapSystem {
  readonly isAhead: boolean;
  readonly #standIn: Program;
  readonly #product: Product;
  readonly #comfy: Connection;
  /** Median of the last round. */
  serviceMs = 0;

  private constructor(isAhead: boolean, standIn: Program, product: Product, comfy: Connection) {
    this.isAhead = isAhead;
    this.#standIn = standIn;
    this.#product = product;
    this.#comfy = comfy;
  }

  static async start(plan: Plan, isAhead: boolean): Promise<GapSystem> {
    const folder = join(plan.folder, isAhead ? "ahead" : "after");
    const directory = ["--base-directory", join(folder, "comfyui")];
    const standIn = await startProgram(
      STAND_IN,
      ["--generation", "newer", "--port", "0", ...directory, "--fault-slow-node-ms", String(NODE_MS)],
      { stopBy: "kill", errors: "ignore" },
    );
    const url = `http://127.0.0.1:${StandInReady.parse(JSON.parse(standIn.ready)).port}`;
    const product = await startProduct(join(folder, "product"), plan.say);
    const before = process.env[NO_LEASE_AHEAD];
    try {
      process.env[NO_LEASE_AHEAD] = isAhead ? "0" : "1";
      await product.stack.startAgent({ kind: "url", url, found: null });
    } finally {
      if (before === undefined) delete process.env[NO_LEASE_AHEAD];
      else process.env[NO_LEASE_AHEAD] = before;
    }
    const settings = { min_replicas: 1, max_replicas: 1 };
    await product.stack.client.endpoints.create({ slug: SLUG, workflow: graphOf(0), settings });
    return new GapSystem(isAhead, standIn, product, await Connection.open(url));
  }

  /** Queues a round's jobs. @returns the median gap between them, ms */
  async gap(): Promise<number> {
    const known = new Set((await this.#executions()).map((each) => each.prompt_id));
    const { client } = this.#product.stack;
    const items = Array.from({ length: JOBS }, () => ({ inputs: { color: nextJob() % 16_777_216 } }));
    const jobs = await Promise.all(items.map((item) => client.jobs.submit(SLUG, item)));
    for (const { id } of jobs) {
      const { state } = await client.jobs.wait(id);
      if (state !== "succeeded") throw new Error(`a job of the bench is ${state}`);
    }
    const ran = (await this.#executions()).filter((each) => !known.has(each.prompt_id));
    if (ran.length !== JOBS) throw new Error(`${ran.length} prompts ran for ${JOBS} jobs`);
    this.serviceMs = median(ran.map((each) => each.ended_at - each.started_at));
    return median(ran.slice(1).map((each, place) => each.started_at - (ran[place]?.ended_at ?? Number.NaN)));
  }

  async #executions(): Promise<z.infer<typeof Executions>> {
    const answer = await this.#comfy.send({ method: "GET", path: "/stand-in/executions" });
    return Executions.parse(JSON.parse(answer.body.toString()));
  }

  async stop(): Promise<void> {
    this.#comfy.close();
    await this.#product.stop();
    await this.#standIn.stop();
  }
}

/** A picture that is stored as it is: 836 x 836 pixels, 2.1 MB. */
function graphOf(color: number): Record<string, { class_type: string; inputs: Record<string, unknown> }> {
  const size = { width: 836, height: 836, batch_size: 1 };
  const saved = { fps: 1, compress_level: 0, filename_prefix: "bench" };
  return {
    1: { class_type: "EmptyImage", inputs: { ...size, color } },
    2: { class_type: "SaveAnimatedPNG", inputs: { images: ["1", 0], ...saved } },
  };
}
