/** How much a figure measures, and where. */
export interface Plan {
  /** For the state of the systems under test; removed when the figure is done. */
  readonly folder: string;
  readonly rounds: number;
  /** Jobs of one round of a rate. */
  readonly jobs: number;
  /** Calls of one round of a latency. */
  readonly samples: number;
  /** Jobs in the queue beside which the same figures are taken again. */
  readonly depths: readonly number[];
  /** One line for people: progress. */
  readonly say: (line: string) => void;
}
