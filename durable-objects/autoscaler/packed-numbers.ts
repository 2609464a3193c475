/** Many numbers in little text: six bits to a character, or a little more. */

interface Alphabet {
  readonly digits: string;
  readonly values: ReadonlyMap<string, number>;
}

const PLAIN = alphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
/** All 92 that JSON writes as they are, in one byte each, but the space. */
const WIDE = alphabet(
  Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index))
    .join("")
    .replace(/["\\]/g, ""),
);

/** Quantities are told apart by less than half a percent between these; 0 stays 0. */
const QUANTITY_MIN = 1e-3;
const QUANTITY_MAX = 1e6;
const QUANTITY_STEPS = 4_094;
const QUANTITY_SPAN = Math.log(QUANTITY_MAX / QUANTITY_MIN);

/** Numbers of either sign are told apart by four millionths between these; what is nearer to 0 becomes 0. */
const NUMBER_MIN = 1e-6;
const NUMBER_MAX = 1e9;
const NUMBER_STEPS = 2 ** 23 - 2;
const NUMBER_SPAN = Math.log(NUMBER_MAX / NUMBER_MIN);

/** Small counts are told apart by one percent between these; what is less becomes 0. Two of them take three characters. */
const COUNT_MIN = 0.01;
const COUNT_MAX = 128;
const COUNT_VALUES = Math.floor(Math.sqrt(WIDE.digits.length ** 3));
const COUNT_STEPS = COUNT_VALUES - 2;
const COUNT_SPAN = Math.log(COUNT_MAX / COUNT_MIN);

/** Times are kept as multiples of a unit, so many of them before or after a base. */
const TIME_HALF = 2 ** 17;

/** Times long ago are kept in hundredths of a second before a base: four months; the largest number stands for -Infinity. */
const AGO_DIGITS = 5;
const NEVER = 64 ** AGO_DIGITS - 1;

/** Where times are packed around, and how finely: seconds. */
export interface TimeGrid {
  readonly base: number;
  readonly unit: number;
}

/** Whole numbers of `width` digits each; what is too large for them becomes the largest. */
export function packWhole(values: readonly number[], width: number, { digits } = PLAIN): string {
  const base = digits.length;
  let text = "";
  const most = base ** width - 1;
  for (const value of values) {
    let rest = Math.max(0, Math.min(most, Math.round(value)));
    let one = "";
    for (let digit = 0; digit < width; digit++) {
      one = (digits[rest % base] ?? "A") + one;
      rest = Math.floor(rest / base);
    }
    text += one;
  }
  return text;
}

/** @returns undefined when the text is none of packWhole's */
export function unpackWhole(text: string, width: number, { values: known } = PLAIN): number[] | undefined {
  if (text.length % width !== 0) return undefined;
  const values: number[] = [];
  for (let at = 0; at < text.length; at += width) {
    let value = 0;
    for (let digit = 0; digit < width; digit++) {
      const one = known.get(text[at + digit] ?? "");
      if (one === undefined) return undefined;
      value = value * known.size + one;
    }
    values.push(value);
  }
  return values;
}

/** Quantities of 0 or more, two characters each. */
export function packQuantities(values: readonly number[]): string {
  return packWhole(
    values.map((value) =>
      value < QUANTITY_MIN ? 0 : 1 + (Math.log(value / QUANTITY_MIN) / QUANTITY_SPAN) * QUANTITY_STEPS,
    ),
    2,
  );
}

export function unpackQuantities(text: string): number[] | undefined {
  return unpackWhole(text, 2)?.map((step) =>
    step === 0 ? 0 : QUANTITY_MIN * Math.exp(((step - 1) / QUANTITY_STEPS) * QUANTITY_SPAN),
  );
}

/** Numbers of either sign, four characters each. */
export function packNumbers(values: readonly number[]): string {
  return packWhole(
    values.map((value) => {
      const size = Math.abs(value);
      if (!(size >= NUMBER_MIN)) return 0;
      const step = Math.round((Math.log(Math.min(size, NUMBER_MAX) / NUMBER_MIN) / NUMBER_SPAN) * NUMBER_STEPS);
      return 2 * (1 + step) + (value < 0 ? 1 : 0);
    }),
    4,
  );
}

export function unpackNumbers(text: string): number[] | undefined {
  return unpackWhole(text, 4)?.map((packed) => {
    if (packed < 2) return 0;
    const size = NUMBER_MIN * Math.exp(((Math.floor(packed / 2) - 1) / NUMBER_STEPS) * NUMBER_SPAN);
    return packed % 2 === 0 ? size : -size;
  });
}

/** Counts by bin: the first bin that has any, how many characters follow, and three of those for two bins each. */
export function packRun(bins: ArrayLike<number>): string {
  const steps = Array.from(bins, (value) => {
    if (!(value >= COUNT_MIN)) return 0;
    return 1 + Math.round((Math.log(Math.min(value, COUNT_MAX) / COUNT_MIN) / COUNT_SPAN) * COUNT_STEPS);
  });
  const first = Math.max(
    0,
    steps.findIndex((step) => step > 0),
  );
  const pairs: number[] = [];
  for (let at = first; at <= steps.findLastIndex((step) => step > 0); at += 2) {
    pairs.push((steps[at] ?? 0) * COUNT_VALUES + (steps[at + 1] ?? 0));
  }
  return packWhole([first, 3 * pairs.length], 1) + packWhole(pairs, 3, WIDE);
}

/** What packRun wrote from there on, and where it ends; after an odd number of counts there is one more, 0. */
export function unpackRun(
  text: string,
  from: number,
): { readonly first: number; readonly counts: readonly number[]; readonly to: number } | undefined {
  const [first, length] = unpackWhole(text.slice(from, from + 2), 1) ?? [];
  if (first === undefined || length === undefined) return undefined;
  const to = from + 2 + length;
  const pairs = unpackWhole(text.slice(from + 2, to), 3, WIDE);
  if (pairs?.length !== length / 3) return undefined;
  const counts = pairs.flatMap((pair) => [countOf(Math.floor(pair / COUNT_VALUES)), countOf(pair % COUNT_VALUES)]);
  return { first, counts, to };
}

function countOf(step: number): number {
  return step === 0 ? 0 : COUNT_MIN * Math.exp(((Math.min(step, COUNT_VALUES - 1) - 1) / COUNT_STEPS) * COUNT_SPAN);
}

/** Times up to the base, or -Infinity; five characters each. */
export function packAgo(times: readonly number[], base: number): string {
  const most = NEVER - 1;
  const ago = times.map((time) => Math.min(most, Math.round(base * 100) - Math.round(time * 100)));
  return packWhole(
    ago.map((hundredths, index) => (times[index] === Number.NEGATIVE_INFINITY ? NEVER : hundredths)),
    AGO_DIGITS,
  );
}

export function unpackAgo(text: string, base: number): number[] | undefined {
  return unpackWhole(text, AGO_DIGITS)?.map((ago) =>
    ago === NEVER ? Number.NEGATIVE_INFINITY : (Math.round(base * 100) - ago) / 100,
  );
}

/** Times in seconds, three characters each; packing what was unpacked changes nothing. */
export function packTimes(times: readonly number[], grid: TimeGrid): string {
  const from = firstStep(grid);
  return packWhole(
    times.map((time) => Math.round(time / grid.unit) - from),
    3,
  );
}

export function unpackTimes(text: string, grid: TimeGrid): number[] | undefined {
  const from = firstStep(grid);
  return unpackWhole(text, 3)?.map((step) => (step + from) * grid.unit);
}

/** Ascending times: the first as packTimes does it, the others by their distance, two characters, 4095 units at most. */
export function packRisingTimes(times: readonly number[], grid: TimeGrid): string {
  const [first] = times;
  if (first === undefined) return "";
  const at = times.map((time) => Math.round(time / grid.unit));
  const steps = at.slice(1).map((step, index) => step - (at[index] ?? 0));
  return packTimes([first], grid) + packWhole(steps, 2);
}

export function unpackRisingTimes(text: string, grid: TimeGrid): number[] | undefined {
  if (text === "") return [];
  const first = unpackWhole(text.slice(0, 3), 3)?.[0];
  const steps = unpackWhole(text.slice(3), 2);
  if (first === undefined || steps === undefined) return undefined;
  let at = first + firstStep(grid);
  const times = [at * grid.unit];
  for (const step of steps) {
    at += step;
    times.push(at * grid.unit);
  }
  return times;
}

function firstStep({ base, unit }: TimeGrid): number {
  return Math.round(base / unit) - TIME_HALF;
}

function alphabet(digits: string): Alphabet {
  return { digits, values: new Map([...digits].map((digit, value) => [digit, value] as const)) };
}
