/** Arithmetic of measurements. All subjects of a figure are measured in turn, round by round. */

export interface Series {
  readonly name: string;
  readonly unit: string;
  /** One value for each round, in order. */
  readonly rounds: readonly number[];
}

/** @throws RangeError for no values */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which this share of the values lies; between two of them, their mean for the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const low = sorted[Math.floor(place)];
  const high = sorted[Math.ceil(place)];
  if (low === undefined || high === undefined) throw new RangeError("no values");
  return low + (high - low) * (place - Math.floor(place));
}

/** The median of the rounds' own ratios: what slows the machine for a while slows both sides of one round. */
export function ratio(above: Series, below: Series): number {
  return median(above.rounds.map((value, round) => value / (below.rounds[round] ?? Number.NaN)));
}

/** Something that gives one number each time it is run. */
export interface Subject {
  readonly name: string;
  readonly unit: string;
  measure(): Promise<number>;
}

/**
 * Measures every subject once per round, each second round in the opposite order. A round before the first one warms
 * everything up and does not count.
 * @param say hears of each measurement
 */
export async function inTurns(
  subjects: readonly Subject[],
  rounds: number,
  say: (line: string) => void,
): Promise<Series[]> {
  const values = new Map(subjects.map(({ name }) => [name, [] as number[]]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const value = await subject.measure();
      if (round > 0) values.get(subject.name)?.push(value);
      say(
        `${round === 0 ? "warm-up" : `round ${round} of ${rounds}`}: ${subject.name} ${shown(value)} ${subject.unit}`,
      );
    }
  }
  return subjects.map(({ name, unit }) => ({ name, unit, rounds: values.get(name) ?? [] }));
}

/** A number for people: three figures, thousands whole. */
export function shown(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}

/** What a figure must keep to. */
export interface Bar {
  readonly what: string;
  readonly value: number;
  readonly bound: number;
  readonly is: "at most" | "at least";
}

export function holds({ value, bound, is }: Bar): boolean {
  return is === "at most" ? value <= bound : value >= bound;
}

/** A measured figure with its bars. */
export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly series: readonly Series[];
  readonly bars: readonly Bar[];
  /** Sentences: what was left out, and why. */
  readonly notes: readonly string[];
}
