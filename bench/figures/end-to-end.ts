/** D: jobs a second from a submit to a recorded end, with 16 replicas that do nothing. */
import { join } from "node:path";
import { startFloor } from "#bench/floor/floor";
import { Crew, submitAll, withSubmitters } from "#bench/load/drive";
import { type Metered, metered } from "#bench/load/metered";
import { type Figure, inTurns, ratio, type Subject } from "#bench/measure";
import { startBullmq } from "#bench/peers/bullmq";
import type { Plan } from "#bench/plan";
import { productQueue, startProduct } from "#bench/product/product";
import type { Queue } from "#bench/subject";

const REPLICAS = 16;
const CONNECTIONS = 16;

export async function endToEndRate(plan: Plan): Promise<Figure> {
  const floor = await startFloor(join(plan.folder, "floor"));
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  const bullmq = await startBullmq(join(plan.folder, "redis"), REPLICAS);
  try {
    const queues: Queue[] = [floor.queue, await productQueue(product, "end-to-end", REPLICAS)];
    const ours = await Promise.all(queues.map((queue) => rateOf(queue, plan.jobs)));
    const subjects: Subject[] = [...ours];
    if (bullmq.type === "running") {
      subjects.push({
        name: "BullMQ, fsync always",
        unit: "jobs/s",
        measure: () => bullmq.rate(plan.jobs, CONNECTIONS),
      });
    }
    const series = await inTurns(subjects, plan.rounds, plan.say);
    const [atFloor, measured, peer] = series;
    if (atFloor === undefined || measured === undefined) throw new Error("a series is missing");
    return {
      id: "D",
      title: `Jobs end to end, ${REPLICAS} replicas that do nothing, ${CONNECTIONS} connections that submit`,
      series: [...series, ...ours.map((subject) => subject.cost())],
      bars: [{ what: "product / floor", value: ratio(measured, atFloor), bound: 0.5, is: "at least" }],
      notes: [
        peer === undefined
          ? `BullMQ: ${bullmq.type === "absent" ? bullmq.reason : "no series"}, skipped.`
          : `product / BullMQ with appendfsync always: ${ratio(measured, peer).toFixed(2)}`,
      ],
    };
  } finally {
    if (bullmq.type === "running") await bullmq.stop();
    await product.stop();
    await floor.stop();
  }
}

async function rateOf(queue: Queue, jobs: number): Promise<Metered> {
  const crew = new Crew(await queue.replicas(REPLICAS), true);
  crew.on();
  const measure = () =>
    withSubmitters(queue, CONNECTIONS, async (submitters) => {
      const startedAt = performance.now();
      const done = crew.untilDone(crew.done + jobs);
      await Promise.all([submitAll(submitters, jobs), done]);
      return (jobs * 1_000) / (performance.now() - startedAt);
    });
  return metered({ name: queue.name, unit: "jobs/s", measure }, jobs);
}
