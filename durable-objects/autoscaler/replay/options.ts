/** What a replay is run under. Times are seconds from the start of the trace. */
export interface ReplayOptions {
  /** Billing ends here; jobs still waiting then are served for nothing, but their waits count. */
  readonly horizonS: number;
  /**
   * Billing goes on after the horizon until every job is done and the replicas that served them are stopped; ones that the
   * policy keeps for good are billed until the last job is done. Default false.
   */
  readonly billsToEnd?: boolean;
  /** From launch to ready. */
  readonly bootS: number;
  /** Standard deviation of the boot over its mean; lognormal. 0 (the default): always bootS. */
  readonly bootCv?: number;
  readonly seed?: number;
  /** Default 64. */
  readonly replicasMax?: number;
  /** Replicas that are ready at second 0, since something before it has started them; billed from then on. Default 0. */
  readonly warm?: number;
  /** Replicas that the rules of other systems never go below. What is there of them at first is `warm`. Default 0. */
  readonly floor?: number;
  /** Whether batch jobs have a queue of their own; without one they are jobs like any other. Default true. */
  readonly hasLanes?: boolean;
  /** Only jobs that arrive from here on count in the waits: one-hour traces start with every replica cold. */
  readonly countFromS?: number;
  /** Batch jobs must start so long after their arrival; they join the interactive queue BATCH_JOINS_BEFORE_S earlier, or at half of a short time. */
  readonly batchDeadlineS?: number;
  /** Whether to keep the number of replicas over time. */
  readonly keepTimeline?: boolean;
}

/** A batch job with a deadline is treated as interactive from so many seconds before it. */
export const BATCH_JOINS_BEFORE_S = 300;
