/** A comparison of policies as one picture: cost against waiting, and replicas and queue over time. */
import type { Compared, Comparison } from "#cli/simulate/compare";

const WIDTH = 1_000;
const MARGIN = 70;
const PANEL_HEIGHT = 260;
const PANEL_GAP = 70;
const LEGEND_LINE = 18;
const TICKS = 5;
const FONT = "12px system-ui, sans-serif";
const COLOURS = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#475569"];

interface Panel {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly xMost: number;
  readonly yMost: number;
}

/** @returns an SVG document without scripts or outside references */
export function comparisonSvg({ trace, bootS, compared }: Comparison): string {
  const hasCost = compared.some(({ cost }) => cost !== null);
  const costOf = ({ cost, run }: Compared) => cost ?? run.gpuS / 3_600;
  const costTitle = hasCost ? "cost, $" : "GPU-hours";
  const half = (WIDTH - 3 * MARGIN) / 2;
  const top = 60 + compared.length * LEGEND_LINE;
  const xMost = roomy(Math.max(...compared.map(costOf)));
  const scatter = (left: number, title: string, waitOf: (each: Compared) => number): string => {
    const yMost = roomy(Math.max(...compared.map(waitOf)));
    const panel: Panel = { left, top, width: half, height: PANEL_HEIGHT, xMost, yMost };
    const points = compared.map((each, index) => {
      const x = xOf(panel, costOf(each));
      const y = yOf(panel, waitOf(each));
      return `<circle cx="${x}" cy="${y}" r="5" fill="${colourOf(index)}"><title>${escaped(each.contender.title)}</title></circle>`;
    });
    return axes(panel, costTitle, title) + points.join("");
  };
  const lines = (row: number, title: string, valuesOf: (each: Compared) => Float64Array): string => {
    const yMost = roomy(
      Math.max(...compared.map((each) => valuesOf(each).reduce((most, value) => Math.max(most, value), 0))),
    );
    const panel: Panel = {
      left: MARGIN,
      top: top + row * (PANEL_HEIGHT + PANEL_GAP),
      width: WIDTH - 2 * MARGIN,
      height: PANEL_HEIGHT,
      xMost: trace.horizonS / 3_600,
      yMost,
    };
    const drawn = compared.map((each, index) => {
      const values = valuesOf(each);
      const points = [...values].map(
        (value, part) => `${xOf(panel, ((part + 0.5) / values.length) * panel.xMost)},${yOf(panel, value)}`,
      );
      return `<polyline fill="none" stroke="${colourOf(index)}" stroke-width="1.2" points="${points.join(" ")}"/>`;
    });
    return axes(panel, "hours", title) + drawn.join("");
  };
  const legend = compared.map((each, index) => {
    const y = 50 + index * LEGEND_LINE;
    const { run } = each;
    const text = `${each.contender.title}: ${label(costOf(each))} ${hasCost ? "$" : "GPU-hours"}, p95 ${label(run.p95S)} s, mean ${label(run.meanS)} s`;
    return `<rect x="${MARGIN}" y="${y - 10}" width="12" height="12" fill="${colourOf(index)}"/><text x="${MARGIN + 20}" y="${y}">${escaped(text)}</text>`;
  });
  const height = top + 3 * (PANEL_HEIGHT + PANEL_GAP);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" style="font:${FONT}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${MARGIN}" y="26" font-weight="bold">${escaped(`${trace.name}, ${trace.jobs} jobs, starts of ${bootS} s`)}</text>`,
    ...legend,
    scatter(MARGIN, "p95 wait, s", ({ run }) => run.p95S),
    scatter(2 * MARGIN + half, "mean wait, s", ({ run }) => run.meanS),
    lines(1, "replicas", ({ series }) => series.replicas),
    lines(2, "waiting jobs", ({ series }) => series.waiting),
    "</svg>",
    "",
  ].join("\n");
}

function axes(panel: Panel, xTitle: string, yTitle: string): string {
  const { left, top, width, height, xMost, yMost } = panel;
  const ticks = Array.from({ length: TICKS + 1 }, (_, tick) => {
    const x = round(left + (width * tick) / TICKS);
    const y = round(top + height - (height * tick) / TICKS);
    return [
      `<line x1="${left}" y1="${y}" x2="${left + width}" y2="${y}" stroke="#e5e7eb"/>`,
      `<text x="${left - 6}" y="${y + 4}" text-anchor="end">${label((yMost * tick) / TICKS)}</text>`,
      `<text x="${x}" y="${top + height + 16}" text-anchor="middle">${label((xMost * tick) / TICKS)}</text>`,
    ].join("");
  });
  return [
    ...ticks,
    `<polyline fill="none" stroke="#111827" points="${left},${top} ${left},${top + height} ${left + width},${top + height}"/>`,
    `<text x="${left}" y="${top - 10}">${escaped(yTitle)}</text>`,
    `<text x="${left + width}" y="${top + height + 34}" text-anchor="end">${escaped(xTitle)}</text>`,
  ].join("");
}

function xOf({ left, width, xMost }: Panel, value: number): number {
  return round(left + (value / xMost) * width);
}

function yOf({ top, height, yMost }: Panel, value: number): number {
  return round(top + height - (value / yMost) * height);
}

/** The end of an axis: the next multiple of a round step above the highest value; never 0. */
function roomy(most: number): number {
  if (!Number.isFinite(most) || most <= 0) return 1;
  const least = most / TICKS;
  const decade = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 4, 5, 10].find((factor) => factor * decade >= least) ?? 10;
  return step * decade * TICKS;
}

const round = (value: number): number => Math.round(value * 10) / 10;
const label = (value: number): string => String(Number(value.toPrecision(3)));
const colourOf = (index: number): string => COLOURS[index % COLOURS.length] ?? "#000";

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
