/** The settings between which the predictive policy chooses by what each would have cost on the endpoint's own arrivals. */
export interface Variant {
  /** In words, for a decision's reason. */
  readonly name: string;
  /** Whether levels are kept by the gaps learned for them. */
  readonly gaps: boolean;
  /** Which of WINDOWS_BOOTS the staffing check looks back; -1: no check. */
  readonly windowIndex: number;
  /** Whether replicas stop, and start again ahead of it, where jobs come by the clock. */
  readonly clock: boolean;
  /** An idle replica is kept so long; 0: no timer. */
  readonly timerS: number;
  /** What a start must be worth, in boots. */
  readonly caution: number;
}

export const DEFAULT_VARIANT: Variant = {
  name: "gaps and the last 20 starts",
  gaps: true,
  windowIndex: 1,
  clock: true,
  timerS: 0,
  caution: 1,
};

/** The first one decides until another has proved cheaper. */
export const VARIANTS: readonly Variant[] = [
  DEFAULT_VARIANT,
  { name: "gaps and the last 5 starts", gaps: true, windowIndex: 0, clock: true, timerS: 0, caution: 1 },
  { name: "gaps", gaps: true, windowIndex: -1, clock: true, timerS: 0, caution: 1 },
  { name: "gaps and the last 60 starts", gaps: true, windowIndex: 2, clock: true, timerS: 0, caution: 1 },
  { name: "the last 20 starts", gaps: false, windowIndex: 1, clock: true, timerS: 0, caution: 1 },
  { name: "the last 60 starts", gaps: false, windowIndex: 2, clock: true, timerS: 0, caution: 1 },
  { name: "60 s idle", gaps: false, windowIndex: -1, clock: false, timerS: 60, caution: 1 },
  { name: "300 s idle", gaps: false, windowIndex: -1, clock: false, timerS: 300, caution: 1 },
  { name: "900 s idle", gaps: false, windowIndex: -1, clock: false, timerS: 900, caution: 1 },
];
