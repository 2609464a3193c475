/** Processor time beside a rate: it hardly changes when somebody else uses the machine. */
import { busyMsBelow } from "#bench/load/process-table";
import type { Series, Subject } from "#bench/measure";

/** A rate that is also asked what its jobs cost. */
export interface Metered extends Subject {
  /** Microseconds of workerd's processor time for each job, round by round, the warm-up left out. */
  cost(): Series;
}

/** @param jobs of one measurement, in which only this subject gives workerd something to do */
export function metered(subject: Subject, jobs: number): Metered {
  const costs: number[] = [];
  return {
    ...subject,
    measure: async () => {
      const before = await busyMsBelow(process.pid, "workerd");
      const value = await subject.measure();
      costs.push((((await busyMsBelow(process.pid, "workerd")) - before) * 1_000) / jobs);
      return value;
    },
    cost: () => ({ name: `${subject.name}: workerd's processor time`, unit: "µs/job", rounds: costs.slice(1) }),
  };
}
