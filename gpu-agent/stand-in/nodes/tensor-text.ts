/** A tensor as PyTorch prints it: four digits, eighty columns, and only the ends of long sides. */

const LINE_COLUMNS = 80;
const DIGITS = 4;
/** Beyond this many numbers a tensor is shown in part. */
const WHOLE_NUMBERS_MAX = 1000;
const SHOWN_AT_EACH_END = 3;

/** @param shape sides from the outermost inwards */
export function tensorText(data: Float32Array, shape: readonly number[]): string {
  const isCut = data.length > WHOLE_NUMBERS_MAX;
  const shown = shownIndexes(shape, isCut).map((index) => data[index] ?? 0);
  const format = formatterFor(shown);
  const prefix = "tensor(";
  if (data.length === 0) return `${prefix}[], size=(${shape.join(", ")}))`;
  return `${prefix}${block(data, shape, 0, prefix.length, isCut, format)})`;
}

interface Formatter {
  readonly width: number;
  text(value: number): string;
}

/** Positions along a side of which the middle may be left out. */
function positions(side: number, isCut: boolean): number[] {
  if (!isCut || side <= 2 * SHOWN_AT_EACH_END) return Array.from({ length: side }, (_, i) => i);
  const first = Array.from({ length: SHOWN_AT_EACH_END }, (_, i) => i);
  return [...first, ...first.map((i) => side - SHOWN_AT_EACH_END + i)];
}

function shownIndexes(shape: readonly number[], isCut: boolean, from = 0): number[] {
  const [side, ...inner] = shape;
  if (side === undefined) return [from];
  const size = inner.reduce((product, value) => product * value, 1);
  return positions(side, isCut).flatMap((i) => shownIndexes(inner, isCut, from + i * size));
}

function formatterFor(values: readonly number[]): Formatter {
  const sizes = values.filter((value) => value !== 0 && Number.isFinite(value)).map(Math.abs);
  const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
  const smallest = sizes.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const isWhole = values.every((value) => Number.isInteger(value));
  const isWide = sizes.length > 0 && (largest / smallest > 1000 || largest > 1e8 || (!isWhole && smallest < 1e-4));
  const text = (value: number): string => {
    if (Number.isNaN(value)) return "nan";
    if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
    if (isWide) return scientific(value);
    return isWhole ? `${value.toFixed(0)}.` : value.toFixed(DIGITS);
  };
  return { width: values.reduce((width, value) => Math.max(width, text(value).length), 1), text };
}

function scientific(value: number): string {
  return value.toExponential(DIGITS).replace(/e([+-])(\d)$/, "e$10$2");
}

function block(
  data: Float32Array,
  shape: readonly number[],
  from: number,
  indent: number,
  isCut: boolean,
  format: Formatter,
): string {
  const [side = 0, ...inner] = shape;
  if (inner.length === 0) return line(data.subarray(from, from + side), indent, isCut, format);
  const size = inner.reduce((product, value) => product * value, 1);
  const rows = positions(side, isCut).map((i) => block(data, inner, from + i * size, indent + 1, isCut, format));
  if (rows.length < side) rows.splice(SHOWN_AT_EACH_END, 0, "...");
  return `[${rows.join(`,${"\n".repeat(inner.length)}${" ".repeat(indent + 1)}`)}]`;
}

function line(values: Float32Array, indent: number, isCut: boolean, format: Formatter): string {
  const perLine = Math.max(1, Math.floor((LINE_COLUMNS - indent) / (format.width + 2)));
  const words = positions(values.length, isCut).map((i) => format.text(values[i] ?? 0).padStart(format.width));
  if (words.length < values.length) words.splice(SHOWN_AT_EACH_END, 0, " ...");
  const lines: string[] = [];
  for (let i = 0; i < words.length; i += perLine) lines.push(words.slice(i, i + perLine).join(", "));
  return `[${lines.join(`,\n${" ".repeat(indent + 1)}`)}]`;
}
