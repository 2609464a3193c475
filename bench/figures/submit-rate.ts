/** B: how many jobs a second are taken in at 64 connections. */
import { join } from "node:path";
import { startFloor } from "#bench/floor/floor";
import { submitAll, withSubmitters } from "#bench/load/drive";
import { type Metered, metered } from "#bench/load/metered";
import { type Figure, inTurns, ratio } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { productQueue, startProduct } from "#bench/product/product";
import type { Intake } from "#bench/subject";

const CONNECTIONS = 64;

export async function submitRate(plan: Plan): Promise<Figure> {
  const floor = await startFloor(join(plan.folder, "floor"));
  const product = await startProduct(join(plan.folder, "product"), plan.say);
  try {
    const queue = await productQueue(product, "submits", 0);
    const rateOf = (intake: Intake): Metered =>
      metered(
        {
          name: intake.name,
          unit: "jobs/s",
          measure: () =>
            withSubmitters(intake, CONNECTIONS, async (submitters) => {
              const startedAt = performance.now();
              await submitAll(submitters, plan.jobs);
              return (plan.jobs * 1_000) / (performance.now() - startedAt);
            }),
        },
        plan.jobs,
      );
    const subjects = [floor.queue, floor.bare, queue].map(rateOf);
    const series = await inTurns(subjects, plan.rounds, plan.say);
    const [atFloor, bare, measured] = series;
    if (atFloor === undefined || bare === undefined || measured === undefined) throw new Error("a series is missing");
    return {
      id: "B",
      title: `Submits at ${CONNECTIONS} connections: with a key, checked inputs and an Idempotency-Key`,
      series: [...series, ...subjects.map((subject) => subject.cost())],
      bars: [
        { what: "product / bare object", value: ratio(measured, bare), bound: 1, is: "at least" },
        { what: "product / floor", value: ratio(measured, atFloor), bound: 0.4, is: "at least" },
      ],
      notes: [],
    };
  } finally {
    await product.stop();
    await floor.stop();
  }
}
