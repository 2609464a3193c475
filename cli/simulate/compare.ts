import type { Contender } from "#cli/simulate/contenders";
import { type Series, SeriesRecorder } from "#cli/simulate/series";
import type { SimulatedTrace } from "#cli/simulate/simulated-trace";
import { boundAtWait, type PricedCost, zeroWaitBound } from "#durable-objects/autoscaler/replay/bounds";
import { type MeasuredRun, measureInParts } from "#durable-objects/autoscaler/replay/measured-run";
import { boundPoints } from "#durable-objects/autoscaler/replay/suite-cell";

/** What a contender did on a trace. */
export interface Compared {
  readonly contender: Contender;
  readonly run: MeasuredRun;
  /** Dollars; null without a price. */
  readonly cost: number | null;
  /** GPU-seconds over what the clairvoyant pays who lets work wait as long; null when it was not asked for. */
  readonly overBound: number | null;
  readonly series: Series;
}

export interface Comparison {
  readonly trace: SimulatedTrace;
  readonly bootS: number;
  /** GPU-seconds of the cheapest schedule, all arrivals known beforehand, in which nobody waits. */
  readonly zeroWaitGpuS: number;
  readonly compared: readonly Compared[];
}

export interface CompareOptions {
  readonly bootS: number;
  /** Standard deviation of starts over their mean. */
  readonly bootCv: number;
  readonly replicasMax: number;
  /** Dollars for an hour of a GPU. */
  readonly pricePerHour: number | null;
  readonly withBound: boolean;
  /** Parts of the series over time. */
  readonly parts: number;
  /** Told what is next, and how much of it is done, 0 to 1; what it answers is waited for. */
  readonly onStep: (what: string, done: number) => Promise<void>;
}

export async function compare(
  trace: SimulatedTrace,
  contenders: readonly Contender[],
  options: CompareOptions,
): Promise<Comparison> {
  const { bootS, bootCv, replicasMax, pricePerHour, onStep } = options;
  const priced: PricedCost[] = [];
  if (options.withBound) {
    await onStep("the clairvoyant", 0);
    priced.push(...boundPoints(trace.endpoints, { bootS, replicasMax }));
  }
  const compared: Compared[] = [];
  for (const contender of contenders) {
    await onStep(contender.title, 0);
    const recorder = new SeriesRecorder(trace.horizonS, options.parts);
    let endpoint = 0;
    const parts = measureInParts(
      trace.endpoints,
      () => contender.make(),
      { horizonS: trace.horizonS, billsToEnd: true, bootS, bootCv, replicasMax, keepTimeline: true },
      (result) => {
        const arrivals = trace.endpoints[endpoint];
        if (arrivals !== undefined) recorder.add(arrivals, result);
        endpoint += 1;
      },
    );
    let part = parts.next();
    for (; part.done !== true; part = parts.next()) await onStep(contender.title, part.value);
    const run = part.value;
    compared.push({
      contender,
      run,
      cost: pricePerHour === null ? null : (run.gpuS / 3_600) * pricePerHour,
      overBound: priced.length === 0 ? null : run.gpuS / boundAtWait(priced, run.waitingWorkS),
      series: recorder.series(),
    });
  }
  const zeroWaitGpuS = trace.endpoints.reduce((sum, arrivals) => sum + zeroWaitBound(arrivals, bootS).gpuS, 0);
  return { trace, bootS, zeroWaitGpuS, compared };
}
