/** Many numbers in little text: six bits to a character. */

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUE_OF = new Map([...DIGITS].map((digit, value) => [digit, value] as const));

/** Quantities are told apart by less than half a percent between these; 0 stays 0. */
const QUANTITY_MIN = 1e-3;
const QUANTITY_MAX = 1e6;
const QUANTITY_STEPS = 4_094;
const QUANTITY_SPAN = Math.log(QUANTITY_MAX / QUANTITY_MIN);

/** Times are kept as multiples of a unit, so many of them before or after a base. */
const TIME_HALF = 2 ** 17;

/** Where times are packed around, and how finely: seconds. */
export interface TimeGrid {
  readonly base: number;
  readonly unit: number;
}

/** Whole numbers of `width` digits each; what is too large for them becomes the largest. */
export function packWhole(values: readonly number[], width: number): string {
  let text = "";
  const most = 64 ** width - 1;
  for (const value of values) {
    let rest = Math.max(0, Math.min(most, Math.round(value)));
    let digits = "";
    for (let digit = 0; digit < width; digit++) {
      digits = (DIGITS[rest % 64] ?? "A") + digits;
      rest = Math.floor(rest / 64);
    }
    text += digits;
  }
  return text;
}

/** @returns undefined when the text is none of packWhole's */
export function unpackWhole(text: string, width: number): number[] | undefined {
  if (text.length % width !== 0) return undefined;
  const values: number[] = [];
  for (let at = 0; at < text.length; at += width) {
    let value = 0;
    for (let digit = 0; digit < width; digit++) {
      const one = VALUE_OF.get(text[at + digit] ?? "");
      if (one === undefined) return undefined;
      value = value * 64 + one;
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
