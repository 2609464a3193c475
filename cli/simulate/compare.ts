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
  /** GPU-seconds over what the clairvoyant pays who lets work wait as long; null when it was not asked for, or jobs never ran. */
  readonly overBound: number | null;
  /** Most replicas at once, all endpoints together. */
  readonly peak: number;
  readonly series: Series;
}

export interface Comparison {
  readonly trace: SimulatedTrace;
  readonly bootS: number;
  /** GPU-seconds of the cheapest schedule, all arrivals known beforehand, in which nobody waits. */
  readonly zeroWaitGpuS: number;
  /** When the last bill ended. */
  readonly endS: number;
  readonly compared: readonly Compared[];
}

export interface CompareOptions {
  readonly bootS: number;
  /** Standard deviation of starts over their mean. */
  readonly bootCv: number;
  /** The largest ceiling of those compared. */
  readonly replicasMax: number;
  /** Replicas of each endpoint that are warm before the trace begins, for who knows every arrival. */
  readonly warm: number;
  /** Seconds after which a batch job must have begun. */
  readonly batchDeadlineS: number;
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
  const { endpoints } = trace;
  const { bootS, bootCv, replicasMax, batchDeadlineS, pricePerHour, onStep } = options;
  const bounds = new Map<number, readonly PricedCost[]>();
  /** Who has warm replicas for nothing is held against somebody who has them, too. */
  const boundOf = async (warm: number): Promise<readonly PricedCost[]> => {
    if (!bounds.has(warm)) await onStep("the clairvoyant", 0);
    const points = bounds.get(warm) ?? boundPoints(endpoints, { bootS, replicasMax, warm });
    bounds.set(warm, points);
    return points;
  };
  const compared: Compared[] = [];
  for (const contender of contenders) {
    const { title, isOurs, warm } = contender;
    const priced = options.withBound ? await boundOf(warm) : [];
    await onStep(title, 0);
    const recorder = new SeriesRecorder();
    let endpoint = 0;
    const parts = measureInParts(
      endpoints,
      () => contender.make(),
      {
        horizonS: trace.horizonS,
        billsToEnd: true,
        bootS,
        bootCv,
        replicasMax,
        warm,
        floor: warm,
        hasLanes: isOurs,
        batchDeadlineS,
        keepTimeline: true,
      },
      (result) => {
        const arrivals = endpoints[endpoint];
        if (arrivals !== undefined) recorder.add(arrivals, result);
        endpoint += 1;
      },
    );
    let part = parts.next();
    for (; part.done !== true; part = parts.next()) await onStep(title, part.value);
    const run = part.value;
    const series = recorder.series(options.parts);
    const hasBound = priced.length > 0 && run.unserved === 0;
    compared.push({
      contender,
      run,
      cost: pricePerHour === null ? null : (run.gpuS / 3_600) * pricePerHour,
      overBound: hasBound ? run.gpuS / boundAtWait(priced, run.waitingWorkS) : null,
      peak: series.replicas.reduce((most, replicas) => Math.max(most, replicas), 0),
      series,
    });
  }
  return {
    trace,
    bootS,
    zeroWaitGpuS: endpoints.reduce((sum, arrivals) => sum + zeroWaitBound(arrivals, bootS, options.warm).gpuS, 0),
    endS: Math.max(trace.horizonS, ...compared.map(({ series }) => series.endS)),
    compared,
  };
}
