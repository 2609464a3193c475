/** E: the same figures beside a long queue. An endpoint with an empty queue and the full ones are measured in turn. */
import { join } from "node:path";
import { Crew, submitAll, withSubmitters } from "#bench/load/drive";
import { type Metered, metered } from "#bench/load/metered";
import { memoryBelow } from "#bench/load/process-table";
import { type Figure, inTurns, ratio, type Series } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { fillQueue } from "#bench/product/fill-queue";
import { productQueue, startProduct } from "#bench/product/product";
import type { Queue } from "#bench/subject";

const SHALLOW = 0;
const CONNECTIONS = 64;
const REPLICAS = 16;
/** How far below the empty queue's rate a full one's may be. */
const SHARE_LOST_MAX: readonly (readonly [depth: number, share: number])[] = [
  [100_000, 0.1],
  [1_000_000, 0.25],
];
/** Beyond the jobs that wait, room for those that are submitted while it is measured. */
const ROOM = 1.5;
const DEPTH_SETTING_MAX = 1_000_000;

export async function depthFigures(plan: Plan): Promise<Figure> {
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  const notes: string[] = [];
  try {
    const queues: { readonly depth: number; readonly queue: Queue }[] = [];
    const memory = async (what: string): Promise<void> => {
      const mib = (await memoryBelow(process.pid, "workerd")) / 1024 ** 2;
      notes.push(`workerd holds ${Math.round(mib)} MiB ${what}`);
      plan.say(notes.at(-1) ?? "");
    };
    await memory("at the start");
    for (const depth of [SHALLOW, ...plan.depths]) {
      const slug = `depth-${depth}`;
      const most = Math.min(DEPTH_SETTING_MAX, Math.max(100_000, Math.round(depth * ROOM)));
      const queue = await productQueue(product, slug, REPLICAS, most);
      // A full queue takes no more: one at the highest setting is filled up to where the measured jobs still fit.
      const jobs = Math.min(depth, most - plan.jobs * (plan.rounds + 1) * 2);
      const startedAt = performance.now();
      await fillQueue(product, slug, Math.max(0, jobs), plan.say);
      if (depth > 0) {
        const seconds = (performance.now() - startedAt) / 1_000;
        await memory(`with ${jobs.toLocaleString("en")} jobs more in a queue, filled in ${Math.round(seconds)} s`);
      }
      queues.push({ depth, queue });
    }
    const nameOf = (what: string, depth: number) => `${what}, ${depth.toLocaleString("en")} queued`;
    const intakes = queues.map(({ depth, queue }) => submitting(nameOf("submits", depth), queue, plan.jobs));
    const submits = await inTurns(intakes, plan.rounds, plan.say);
    const crews: Crew<unknown>[] = [];
    for (const { queue } of queues) crews.push(new Crew(await queue.replicas(REPLICAS), true));
    const [shallow] = crews;
    // What was submitted to the empty queue goes first, so that it is empty again.
    await shallow?.take(plan.jobs * (plan.rounds + 1));
    const crewed = queues.flatMap(({ depth, queue }, place) => {
      const crew = crews[place];
      return crew === undefined ? [] : [{ depth, queue, crew }];
    });
    const shared = crewed.map(({ depth, queue, crew }) => both(nameOf("both at once", depth), queue, crew, plan.jobs));
    const boths = await inTurns(shared, plan.rounds, plan.say);
    // Jobs of the same kind as in the full ones: no more than will be taken.
    await fillQueue(product, `depth-${SHALLOW}`, plan.jobs * (plan.rounds + 2), plan.say);
    const takings = crewed.map(({ depth, crew }) =>
      taking(nameOf("leases taken and completed", depth), crew, plan.jobs),
    );
    const takes = await inTurns(takings, plan.rounds, plan.say);
    await memory("at the end");
    return {
      id: "E",
      title: `The product beside a long queue: ${CONNECTIONS} connections that submit, ${REPLICAS} replicas that take`,
      series: [...submits, ...takes, ...boths, ...[...intakes, ...takings, ...shared].map((subject) => subject.cost())],
      bars: [submits, takes, boths].flatMap((series) => barsOf(series, plan.depths)),
      notes,
    };
  } finally {
    await product.stop();
  }
}

function barsOf(series: readonly Series[], depths: readonly number[]) {
  const [empty] = series;
  return depths.flatMap((depth, place) => {
    const full = series[place + 1];
    const lost = SHARE_LOST_MAX.find(([upTo]) => depth <= upTo)?.[1] ?? 1;
    if (empty === undefined || full === undefined) return [];
    return [{ what: `${full.name} / empty`, value: ratio(full, empty), bound: 1 - lost, is: "at least" as const }];
  });
}

/** Before any replica is there, so that nothing is taken. */
function submitting(name: string, queue: Queue, jobs: number): Metered {
  const measure = () =>
    withSubmitters(queue, CONNECTIONS, async (submitters) => {
      const startedAt = performance.now();
      await submitAll(submitters, jobs);
      return (jobs * 1_000) / (performance.now() - startedAt);
    });
  return metered({ name, unit: "jobs/s", measure }, jobs);
}

/** From a queue that has more jobs than these: no replica may find it empty and wait. */
function taking(name: string, crew: Crew<unknown>, jobs: number): Metered {
  const measure = async (): Promise<number> => (jobs * 1_000) / (await crew.take(jobs));
  return metered({ name, unit: "jobs/s", measure }, jobs);
}

/** Submits while replicas take, as many of each. */
function both(name: string, queue: Queue, crew: Crew<unknown>, jobs: number): Metered {
  const measure = () =>
    withSubmitters(queue, REPLICAS, async (submitters) => {
      const startedAt = performance.now();
      crew.on();
      // Off at once when it has done as many as are submitted, so that the queue keeps its length.
      const done = crew.untilDone(crew.done + jobs).then(() => crew.off());
      await Promise.all([submitAll(submitters, jobs), done]);
      const seconds = (performance.now() - startedAt) / 1_000;
      await crew.untilIdle();
      return jobs / seconds;
    });
  return metered({ name, unit: "jobs/s", measure }, jobs);
}
