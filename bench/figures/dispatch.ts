/** C: how long after a submit was sent a waiting replica holds the lease, with nothing else to do. */
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { startFloor } from "#bench/floor/floor";
import { Crew, withSubmitters } from "#bench/load/drive";
import { type Figure, inTurns, median, ratio, type Subject } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { productQueue, startProduct } from "#bench/product/product";
import { nextJob, type Queue } from "#bench/subject";

/** Long enough for the replica's next poll to wait in the object again. */
const PAUSE_MS = 10;

export async function dispatchTime(plan: Plan): Promise<Figure> {
  const floor = await startFloor(join(plan.folder, "floor"));
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  try {
    const queues: Queue[] = [floor.queue, await productQueue(product, "dispatch", 1)];
    const subjects = await Promise.all(queues.map((queue) => timeOf(queue, plan.samples)));
    const series = await inTurns(subjects, plan.rounds, plan.say);
    const [atFloor, measured] = series;
    if (atFloor === undefined || measured === undefined) throw new Error("a series is missing");
    return {
      id: "C",
      title: "From a submit to a waiting replica that holds the lease, p50",
      series,
      bars: [{ what: "product / floor", value: ratio(measured, atFloor), bound: 1.5, is: "at most" }],
      notes: [],
    };
  } finally {
    await product.stop();
    await floor.stop();
  }
}

async function timeOf(queue: Queue, samples: number): Promise<Subject> {
  const crew = new Crew(await queue.replicas(1), false);
  crew.on();
  const measure = () =>
    withSubmitters(queue, 1, async ([submitter]) => {
      const times: number[] = [];
      while (times.length < samples) {
        await pause(PAUSE_MS);
        const startedAt = performance.now();
        const held = crew.untilTaken(crew.taken + 1);
        const submitted = submitter?.submit(nextJob());
        await held;
        times.push(performance.now() - startedAt);
        await submitted;
        await crew.untilIdle();
      }
      return median(times);
    });
  return { name: queue.name, unit: "ms", measure };
}
