/**
 * A palette by median cut, as Pillow builds it: colours are split again and again at the median of the widest channel,
 * always in the box with the most pixels, and each box gives the mean of its pixels.
 */

/** Distinct colours that are told apart; with more, low bits are dropped until they fit. */
const DISTINCT_MAX = 65536;
/** How much a difference counts in red, green and blue. */
const CHANNEL_WEIGHTS = [77, 150, 29] as const;

interface Color {
  readonly parts: readonly [number, number, number];
  readonly count: number;
}

interface Box {
  readonly colors: readonly Color[];
  readonly pixels: number;
  halves?: readonly [Box, Box];
}

/**
 * @param rgb 8-bit pixels, three bytes each
 * @returns at most `size` colours in Pillow's order
 */
export function medianCut(rgb: Uint8Array, size: number): readonly (readonly [number, number, number])[] {
  const { shift, colors } = countColors(rgb);
  const root: Box = { colors, pixels: rgb.length / 3 };
  const heap = new BoxHeap();
  heap.add(root);
  for (let boxes = 1; boxes < size; boxes += 1) {
    let box = heap.takeLargest();
    while (box !== undefined && box.colors.length === 1) box = heap.takeLargest();
    if (box === undefined) break;
    box.halves = halved(box);
    heap.add(box.halves[0]);
    heap.add(box.halves[1]);
  }
  return meansOf(leavesOf(root), rgb, shift);
}

const keyOf = (r: number, g: number, b: number, shift: number): number =>
  ((r >> shift) << 16) | ((g >> shift) << 8) | (b >> shift);

function countColors(rgb: Uint8Array): { shift: number; colors: Color[] } {
  for (let shift = 0; ; shift += 1) {
    const counts = new Map<number, number>();
    for (let i = 0; i < rgb.length && counts.size <= DISTINCT_MAX; i += 3) {
      const key = keyOf(rgb[i] ?? 0, rgb[i + 1] ?? 0, rgb[i + 2] ?? 0, shift);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    if (counts.size > DISTINCT_MAX) continue;
    const colors = [...counts].map(([key, count]) => ({
      parts: [key >> 16, (key >> 8) & 0xff, key & 0xff] as const,
      count,
    }));
    return { shift, colors };
  }
}

function halved(box: Box): readonly [Box, Box] {
  const axis = widestChannel(box.colors);
  const at = (color: Color): number => color.parts[axis] ?? 0;
  const sorted = [...box.colors].sort((a, b) => at(b) - at(a));
  let cut = 0;
  let pixels = 0;
  while (cut < sorted.length && pixels * 2 <= box.pixels) {
    pixels += sorted[cut]?.count ?? 0;
    cut += 1;
  }
  // Colours of one value stay together: with the brighter half, unless nothing would be left for the darker.
  const edge = sorted[cut - 1];
  while (cut < sorted.length && edge !== undefined && at(sorted[cut] ?? edge) === at(edge)) cut += 1;
  if (cut === sorted.length) {
    const last = sorted.at(-1);
    cut = sorted.findIndex((color) => last !== undefined && at(color) === at(last));
  }
  return [boxOf(sorted.slice(0, cut)), boxOf(sorted.slice(cut))];
}

function boxOf(colors: readonly Color[]): Box {
  return { colors, pixels: colors.reduce((sum, color) => sum + color.count, 0) };
}

function widestChannel(colors: readonly Color[]): number {
  const widths = CHANNEL_WEIGHTS.map((weight, axis) => {
    const values = colors.map((color) => color.parts[axis] ?? 0);
    return (values.reduce((a, b) => Math.max(a, b), 0) - values.reduce((a, b) => Math.min(a, b), 255)) * weight;
  });
  return widths.indexOf(Math.max(...widths));
}

function leavesOf(box: Box): Box[] {
  return box.halves === undefined ? [box] : box.halves.flatMap(leavesOf);
}

function meansOf(leaves: readonly Box[], rgb: Uint8Array, shift: number): (readonly [number, number, number])[] {
  const leafOf = new Map<number, number>();
  for (const [index, leaf] of leaves.entries()) {
    for (const { parts } of leaf.colors) leafOf.set((parts[0] << 16) | (parts[1] << 8) | parts[2], index);
  }
  const sums = new Float64Array(leaves.length * 4);
  for (let i = 0; i < rgb.length; i += 3) {
    const key = keyOf(rgb[i] ?? 0, rgb[i + 1] ?? 0, rgb[i + 2] ?? 0, shift);
    const at = (leafOf.get(key) ?? 0) * 4;
    for (let c = 0; c < 3; c += 1) sums[at + c] = (sums[at + c] ?? 0) + (rgb[i + c] ?? 0);
    sums[at + 3] = (sums[at + 3] ?? 0) + 1;
  }
  return leaves.map((_, index) => {
    const [r = 0, g = 0, b = 0, count = 1] = sums.subarray(index * 4, index * 4 + 4);
    return [Math.trunc(0.5 + r / count), Math.trunc(0.5 + g / count), Math.trunc(0.5 + b / count)] as const;
  });
}

/** A binary heap whose order among equals is Pillow's: it decides which of two equal boxes is split first. */
class BoxHeap {
  readonly #boxes: Box[] = [];

  add(box: Box): void {
    let at = this.#boxes.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.#boxes[parent];
      if (above === undefined || box.pixels <= above.pixels) break;
      this.#boxes[at] = above;
      at = parent;
    }
    this.#boxes[at] = box;
  }

  takeLargest(): Box | undefined {
    const largest = this.#boxes[0];
    const moved = this.#boxes.pop();
    const count = this.#boxes.length;
    if (moved === undefined || count === 0) return largest;
    let at = 0;
    for (let child = 1; child < count; child = 2 * at + 1) {
      const right = this.#boxes[child + 1];
      if (right !== undefined && (this.#boxes[child]?.pixels ?? 0) < right.pixels) child += 1;
      const below = this.#boxes[child];
      if (below === undefined || moved.pixels > below.pixels) break;
      this.#boxes[at] = below;
      at = child;
    }
    this.#boxes[at] = moved;
    return largest;
  }
}
