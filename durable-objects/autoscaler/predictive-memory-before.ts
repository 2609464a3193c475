/** What the predictive policy remembers in the form it was written in before, brought into the present one. */
import * as z from "zod";
import { BOOTS_KEPT } from "./demand-model.ts";
import { GAP_BINS } from "./gap-histogram.ts";
import { packAgo, packNumbers, packQuantities, packRun, unpackQuantities, unpackTimes } from "./packed-numbers.ts";
import { VARIANTS } from "./variants.ts";

/** Only what has changed since; the rest is read with the present form. */
const Before = z.looseObject({
  form: z.literal(1),
  variants: z.literal(VARIANTS.map(({ name }) => name).join()),
  at: z.number(),
  unit: z.number().positive(),
  boots: z.array(z.number()),
  unusedSince: z.array(z.number().nullable()),
  gaps: z.array(z.tuple([z.int().min(0).max(GAP_BINS), z.string()])),
  untaken: z.array(z.number()),
  sums: z.array(z.array(z.number())),
  shadows: z.array(z.tuple([z.string(), z.string(), z.string(), z.string(), z.number(), z.number(), z.number()])),
});

/** @returns the present form, but for its number and its variants; null when it is not the form before */
export function fromFormBefore(json: unknown): Record<string, unknown> | null {
  const parsed = Before.safeParse(json);
  if (!parsed.success) return null;
  const { at, unit, boots, unusedSince, gaps, untaken, sums, shadows, ...rest } = parsed.data;
  const grid = { base: at, unit };
  const runs = gaps.map(([first, text]) => {
    const counts = unpackQuantities(text);
    return counts === undefined ? null : packRun([...Array<number>(first).fill(0), ...counts]);
  });
  const moved = shadows.map(([ends, since, ...others]) => {
    const [busyEnds, busySince] = [unpackTimes(ends, grid), unpackTimes(since, grid)];
    if (busyEnds === undefined || busySince?.length !== busyEnds.length) return null;
    return [ends, packQuantities(busyEnds.map((end, index) => end - (busySince[index] ?? end))), ...others];
  });
  if (runs.includes(null)) return null;
  return {
    ...rest,
    at,
    unit,
    boots: boots.slice(-BOOTS_KEPT),
    unusedSince: packAgo(
      unusedSince.map((since) => since ?? Number.NEGATIVE_INFINITY),
      at,
    ),
    gaps: runs.join(""),
    untaken: packNumbers(untaken),
    sums: sums.map(packNumbers).join(""),
    shadows: moved,
  };
}
