/** H: how long interactive jobs wait beside a long queue of batch jobs, of their own endpoint and of another one. */
import { type Figure, median, quantile, ratio, type Series, shown } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { type Product, startProduct } from "#bench/product/product";
import { type RealNodes, startRealNodes } from "#bench/product/real-nodes";
import { graphOf, nextJob } from "#bench/subject";
import { BATCH_JOBS_MAX } from "#contract/limits";
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";

const NODES = 2;
const SLOTS = 4;
/** Replicas of each of the two endpoints. Together they fill the pod. */
const REPLICAS = (NODES * SLOTS) / 2;
/** Of each of the graph's two nodes: 200 ms of service. */
const NODE_MS = 100;
const SERVICE_MS = 2 * NODE_MS;
/** Mean time between two interactive jobs: half a replica's work, so nearly always a replica is free. */
const APART_MS = 500;
const BACKLOG = 10_000;
/**
 * A p95 below this counts as this. Server, agents and load share the processors, and batch jobs take of them: that costs
 * tens of ms on two cores, while who finds no free replica waits for half a job on average.
 */
const RESOLUTION_MS = 50;
/** Who waits longer than this had no free replica. */
const NO_REPLICA_MS = SERVICE_MS / 2;
const READY_MS_MAX = 180_000;
const LOOK_MS = 200;
const SEED = 20_260_101;

/** Works off no batch jobs but when it is measured. */
const LOADED = "with-backlog";
const QUIET = "without-backlog";

interface Case {
  readonly name: string;
  /** Gets the interactive jobs. */
  readonly slug: string;
  /** The batch jobs of LOADED start. */
  readonly isWorking: boolean;
}

const ALONE: Case = { name: "no batch jobs", slug: QUIET, isWorking: false };
const OWN: Case = { name: "its own backlog", slug: LOADED, isWorking: true };
const OTHER: Case = { name: "another endpoint's backlog", slug: QUIET, isWorking: true };
const CASES: readonly Case[] = [ALONE, OWN, OTHER];

interface Round {
  /** From a job's creation to its start, as the server tells, ms. */
  readonly waits: readonly number[];
  /** Batch jobs that left the queue, in a second. */
  readonly batchRate: number;
}

export async function batchLane(plan: Plan): Promise<Figure> {
  const product = await startProduct(`${plan.folder}/product`, plan.say);
  let nodes: RealNodes | null = null;
  try {
    const comfyArgs = ["--fault-slow-node-ms", String(NODE_MS)];
    nodes = await startRealNodes(product.stack, { nodes: NODES, slots: SLOTS, comfyArgs, folder: plan.folder });
    for (const slug of [QUIET, LOADED]) await makeEndpoint(product, slug);
    await fillBatchLane(product);
    const rounds = new Map(CASES.map(({ name }) => [name, [] as Round[]]));
    for (let round = 0; round <= plan.rounds; round += 1) {
      for (const each of round % 2 === 0 ? CASES : CASES.toReversed()) {
        const one = await measure(product, each, SEED + round, plan.samples);
        const when = round === 0 ? "warm-up" : `round ${round} of ${plan.rounds}`;
        plan.say(
          `${when}: ${each.name}: p95 ${shown(quantile(one.waits, 0.95))} ms, ${shown(one.batchRate)} batch jobs/s`,
        );
        if (round > 0) rounds.get(each.name)?.push(one);
      }
    }
    return figureOf((one) => rounds.get(one.name) ?? []);
  } finally {
    await nodes?.stop();
    await product.stop();
  }
}

function figureOf(roundsOf: (one: Case) => readonly Round[]): Figure {
  const series = (name: string, unit: string, of: (round: Round) => number): Series[] =>
    CASES.map((each) => ({ name: `${each.name}: ${name}`, unit, rounds: roundsOf(each).map(of) }));
  const counted = (each: Case): Series => ({
    name: each.name,
    unit: "ms",
    rounds: roundsOf(each).map(({ waits }) => Math.max(RESOLUTION_MS, quantile(waits, 0.95))),
  });
  const least = (each: Case): number => median(roundsOf(each).map(({ batchRate }) => batchRate));
  const share = (waits: readonly number[]): number =>
    waits.filter((wait) => wait > NO_REPLICA_MS).length / waits.length;
  return {
    id: "H",
    title: `Interactive jobs beside ${BACKLOG.toLocaleString("en")} batch jobs: ${SERVICE_MS} ms of service, ${REPLICAS} replicas, one job each ${APART_MS} ms`,
    series: [
      ...series("wait p50", "ms", ({ waits }) => median(waits)),
      ...series("wait p95", "ms", ({ waits }) => quantile(waits, 0.95)),
      ...series(`waited longer than ${NO_REPLICA_MS} ms`, "of all", ({ waits }) => share(waits)),
      ...series("batch jobs", "jobs/s", ({ batchRate }) => batchRate),
    ],
    bars: [
      { what: "p95, its own backlog / none", value: ratio(counted(OWN), counted(ALONE)), bound: 1.1, is: "at most" },
      {
        what: "p95, another's backlog / none",
        value: ratio(counted(OTHER), counted(ALONE)),
        bound: 1.1,
        is: "at most",
      },
      // One replica of four, less what a job costs beside its service.
      { what: "batch jobs a second meanwhile", value: Math.min(least(OWN), least(OTHER)), bound: 1, is: "at least" },
    ],
    notes: [`The ratios count a p95 below ${RESOLUTION_MS} ms as ${RESOLUTION_MS} ms; the rounds are as measured.`],
  };
}

async function makeEndpoint({ stack: { client } }: Product, slug: string): Promise<void> {
  // Both may have the whole pod, and batch jobs may ask for it at once: the slots are contested all the time.
  const settings = { min_replicas: REPLICAS, max_replicas: NODES * SLOTS, batch_target_wait_s: 0 };
  await client.endpoints.create({ slug, workflow: graphOf(0), settings });
  const deadline = performance.now() + READY_MS_MAX;
  const ready = async (): Promise<number> =>
    (await client.endpoints.replicas(slug)).filter(({ state }) => state === "ready").length;
  while ((await ready()) < REPLICAS) {
    if (performance.now() > deadline) throw new Error(`the replicas of ${slug} are never ready`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

async function fillBatchLane({ stack: { client } }: Product): Promise<void> {
  await client.queues.pause(LOADED, {});
  for (let jobs = 0; jobs < BACKLOG; jobs += BATCH_JOBS_MAX) {
    const inputs = Array.from({ length: BATCH_JOBS_MAX }, () => ({ color: nextJob() % 16_777_216 }));
    await client.batches.submit(LOADED, { inputs });
  }
}

/** Interactive jobs come at random, at the same moments of a round whatever is measured. */
async function measure({ stack: { client } }: Product, each: Case, seed: number, count: number): Promise<Round> {
  const chance = seededChance(seed);
  if (each.isWorking) await client.queues.resume(LOADED);
  const waiting = async (): Promise<number> => (await client.queues.get(LOADED)).queued.batch;
  const before = await waiting();
  const startedAt = performance.now();
  const submits: ReturnType<typeof client.jobs.submit>[] = [];
  let due = startedAt;
  for (let job = 0; job < count; job += 1) {
    due += -Math.log(1 - chance()) * APART_MS;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    const submit = client.jobs.submit(each.slug, { inputs: { color: nextJob() % 16_777_216 } });
    submit.catch(() => undefined);
    submits.push(submit);
  }
  const jobs = await Promise.all(submits);
  const batchRate = ((before - (await waiting())) / (performance.now() - startedAt)) * 1_000;
  if (each.isWorking) await client.queues.pause(LOADED, {});
  const waits: number[] = [];
  for (const { id } of jobs) {
    const { state, created_at, started_at } = await client.jobs.wait(id);
    if (state !== "succeeded" || started_at === null) throw new Error(`a job of the bench is ${state}`);
    waits.push(Date.parse(started_at) - Date.parse(created_at));
  }
  return { waits, batchRate };
}
