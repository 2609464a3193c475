/** What ComfyUI's mask nodes do to masks. */
import { type MaskBatch, NodeError } from "../node.ts";
import { clampUnit } from "./float-images.ts";

const f = Math.fround;

type Combine = (destination: number, source: number) => number;
const isSet = (value: number): boolean => Math.abs(value) > 0.5;

const OPERATIONS: Readonly<Record<string, Combine>> = {
  multiply: (d, s) => f(d * s),
  add: (d, s) => f(d + s),
  subtract: (d, s) => f(d - s),
  and: (d, s) => (isSet(d) && isSet(s) ? 1 : 0),
  or: (d, s) => (isSet(d) || isSet(s) ? 1 : 0),
  xor: (d, s) => (isSet(d) !== isSet(s) ? 1 : 0),
};

/**
 * Combines `source`, laid with its upper left corner at (x, y), into `destination`.
 * @throws NodeError RuntimeError when neither batch is single and they differ
 */
export function combinedMasks(
  destination: MaskBatch,
  source: MaskBatch,
  at: { x: number; y: number },
  operation: string,
): MaskBatch {
  const combine = OPERATIONS[operation];
  const right = Math.min(at.x + source.width, destination.width);
  const bottom = Math.min(at.y + source.height, destination.height);
  if (source.batch !== 1 && source.batch !== destination.batch) {
    throw new NodeError(
      "RuntimeError",
      `The size of tensor a (${destination.batch}) must match the size of tensor b (${source.batch}) ` +
        "at non-singleton dimension 0",
    );
  }
  const data = destination.data.slice();
  for (let b = 0; b < destination.batch && combine !== undefined; b += 1) {
    const sourceFrame = source.batch === 1 ? 0 : b;
    for (let y = at.y; y < bottom; y += 1) {
      for (let x = at.x; x < right; x += 1) {
        const to = (b * destination.height + y) * destination.width + x;
        const from = (sourceFrame * source.height + y - at.y) * source.width + x - at.x;
        data[to] = combine(data[to] ?? 0, source.data[from] ?? 0);
      }
    }
  }
  return { ...destination, data: data.map(clampUnit) };
}

/**
 * Fades the edges out. Faithful to a slip of the original: on the right and at the bottom its first step hits column
 * and row 0, because it counts `-0` from the end.
 */
export function feathered(
  mask: MaskBatch,
  edges: { left: number; top: number; right: number; bottom: number },
): MaskBatch {
  const { batch, height, width } = mask;
  const data = mask.data.slice();
  const fadeColumn = (x: number, rate: number) => {
    for (let row = 0; row < batch * height; row += 1) data[row * width + x] = (data[row * width + x] ?? 0) * f(rate);
  };
  const fadeRow = (y: number, rate: number) => {
    for (let b = 0; b < batch; b += 1) {
      const start = (b * height + y) * width;
      for (let i = start; i < start + width; i += 1) data[i] = (data[i] ?? 0) * f(rate);
    }
  };
  const left = Math.min(edges.left, width);
  const right = Math.min(edges.right, width);
  const top = Math.min(edges.top, height);
  const bottom = Math.min(edges.bottom, height);
  for (let i = 0; i < left; i += 1) fadeColumn(i, (i + 1) / left);
  for (let i = 0; i < right; i += 1) fadeColumn(i === 0 ? 0 : width - i, (i + 1) / right);
  for (let i = 0; i < top; i += 1) fadeRow(i, (i + 1) / top);
  for (let i = 0; i < bottom; i += 1) fadeRow(i === 0 ? 0 : height - i, (i + 1) / bottom);
  return { ...mask, data };
}

/**
 * Grows (or, below zero, shrinks) what is white, one pixel at a time: by the four neighbours when corners are
 * tapered, by all eight otherwise. Beyond the edge the picture is mirrored, edge pixel included.
 * @param tick called before every step; throws to stop
 */
export function grown(mask: MaskBatch, steps: number, tapered: boolean, tick: () => void): MaskBatch {
  const pick = steps < 0 ? Math.min : Math.max;
  let data = mask.data;
  for (let step = 0; step < Math.abs(steps); step += 1) {
    tick();
    const next = grownOnce(data, mask, tapered, pick);
    // A mask that no longer changes will not change later either; 16384 steps of nothing are not worth waiting for.
    if (next.every((value, i) => value === data[i])) break;
    data = next;
  }
  return { ...mask, data };
}

function grownOnce(
  data: Float32Array,
  { batch, height, width }: MaskBatch,
  tapered: boolean,
  pick: (...values: number[]) => number,
): Float32Array {
  const next = new Float32Array(data.length);
  for (let b = 0; b < batch; b += 1) {
    for (let y = 0; y < height; y += 1) {
      const here = (b * height + y) * width;
      const above = y > 0 ? here - width : here;
      const below = y < height - 1 ? here + width : here;
      for (let x = 0; x < width; x += 1) {
        const before = x > 0 ? x - 1 : x;
        const after = x < width - 1 ? x + 1 : x;
        let value = pick(data[here + x] ?? 0, data[above + x] ?? 0, data[below + x] ?? 0);
        value = pick(value, data[here + before] ?? 0, data[here + after] ?? 0);
        if (!tapered) {
          value = pick(value, data[above + before] ?? 0, data[above + after] ?? 0);
          value = pick(value, data[below + before] ?? 0, data[below + after] ?? 0);
        }
        next[here + x] = value;
      }
    }
  }
  return next;
}
