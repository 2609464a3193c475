/** A comparison of policies as one picture: their figures, cost against waiting, and replicas and queue over time. */
import type { Compared, Comparison } from "#cli/simulate/compare";
import {
  type ComparisonTable,
  comparisonTable,
  gpuTime,
  isWhole,
  markOf,
  unitOf,
} from "#cli/simulate/comparison-table";

const WIDTH = 1_000;
const MARGIN = 70;
const PANEL_HEIGHT = 260;
const PANEL_GAP = 70;
const LEGEND_LINE = 18;
const TICKS = 5;
const FONT = "12px system-ui, sans-serif";
/** Width of a character of the table, at most; where its lines are longer they are pressed together. */
const CHARACTER = 6.6;
const SWATCH = 20;
/** With a dash pattern each, the colours tell apart as many policies as are compared. */
const DASHES = ["", "7 3", "2 2", "9 3 2 3", "1 4"];
/** Where letters stand beside their points, and beside each other over the peaks of lines: those of neighbours are apart. */
const BESIDE = [
  [8, -4],
  [8, 12],
  [-15, -4],
  [-15, 12],
] as const;
const IN_A_ROW = 5;
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
export function comparisonSvg({ trace, bootS, endS, compared }: Comparison): string {
  const unit = unitOf(compared);
  const hasCost = compared.some(({ cost }) => cost !== null);
  const costOf = ({ cost, run }: Compared) => cost ?? run.gpuS / unit.gpuS;
  const costTitle = hasCost ? "cost, $" : unit.name;
  const table = comparisonTable(compared);
  const half = (WIDTH - 3 * MARGIN) / 2;
  const top = 90 + (1 + compared.length + table.notes.length) * LEGEND_LINE;
  const xMost = roomy(Math.max(...compared.filter(isWhole).map(costOf)));
  const scatter = (left: number, title: string, waitOf: (each: Compared) => number): string => {
    const yMost = roomy(Math.max(...compared.filter(isWhole).map(waitOf)));
    const panel: Panel = { left, top, width: half, height: PANEL_HEIGHT, xMost, yMost };
    // A bill for less than all the work would look like the cheapest.
    const whole = [...compared.entries()].filter(([, each]) => isWhole(each));
    const points = whole.map(([index, each]) => {
      const [x, y] = [xOf(panel, costOf(each)), yOf(panel, waitOf(each))];
      const title = `<title>${escaped(each.contender.title)}</title>`;
      return `<circle cx="${x}" cy="${y}" r="5" fill="${colourOf(index)}">${title}</circle>`;
    });
    const marks = whole.map(([index, each]) => {
      const [dx = 0, dy = 0] = BESIDE[index % BESIDE.length] ?? [];
      return mark(index, xOf(panel, costOf(each)) + dx, yOf(panel, waitOf(each)) + dy);
    });
    return [axes(panel, costTitle, title), ...points, ...marks].join("");
  };
  const lines = (row: number, title: string, valuesOf: (each: Compared) => Float64Array): string => {
    const mostOf = (each: Compared) => valuesOf(each).reduce((most, value) => Math.max(most, value), 0);
    const panel: Panel = {
      left: MARGIN,
      top: top + row * (PANEL_HEIGHT + PANEL_GAP),
      width: WIDTH - 2 * MARGIN,
      height: PANEL_HEIGHT,
      xMost: endS / 3_600,
      yMost: roomy(Math.max(...compared.map(mostOf))),
    };
    const drawn = compared.map((each, index) => {
      const values = valuesOf(each);
      const hours = each.series.endS / 3_600;
      const at = (part: number) => xOf(panel, ((part + 0.5) / values.length) * hours);
      const points = [...values].map((value, part) => `${at(part)},${yOf(panel, value)}`);
      const most = mostOf(each);
      const line = `<polyline fill="none" stroke="${colourOf(index)}" stroke-width="1.2"${dashOf(index)} points="${points.join(" ")}"/>`;
      return line + mark(index, at(values.indexOf(most)) + (index % IN_A_ROW) * 8, yOf(panel, most) - 3);
    });
    return axes(panel, "hours", title) + drawn.join("");
  };
  const isBatch = compared.every(({ run }) => run.jobs === 0);
  const height = top + 3 * (PANEL_HEIGHT + PANEL_GAP);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" style="font:${FONT}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${MARGIN}" y="26" font-weight="bold">${escaped(`${trace.name}, ${trace.jobs} jobs, ${gpuTime(trace.workS, unit)} ${unit.name} of work, starts of ${bootS} s`)}</text>`,
    ...tableLines(table),
    scatter(MARGIN, isBatch ? "p95 wait of batch jobs, s" : "p95 wait, s", ({ run }) =>
      isBatch ? run.batchP95S : run.p95S,
    ),
    scatter(2 * MARGIN + half, isBatch ? "mean wait of batch jobs, s" : "mean wait, s", ({ run }) =>
      isBatch ? run.batchMeanS : run.meanS,
    ),
    lines(1, "replicas, the most at once", ({ series }) => series.replicas),
    lines(2, "waiting jobs, the most at once", ({ series }) => series.waiting),
    "</svg>",
    "",
  ].join("\n");
}

/** The figures, with the colour and the dashes of each policy before its letter. */
function tableLines({ header, rows, notes }: ComparisonTable): string[] {
  const widths = header.map(
    (name, column) => 2 + Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const all = widths.reduce((sum, width) => sum + width, 0);
  const character = Math.min(CHARACTER, (WIDTH - 2 * MARGIN - SWATCH) / all);
  const cells = (row: readonly string[], y: number): string => {
    let x = MARGIN + SWATCH;
    return row
      .map((cell, column) => {
        const text = `<text x="${round(x)}" y="${y}">${escaped(cell)}</text>`;
        x += (widths[column] ?? 0) * character;
        return text;
      })
      .join("");
  };
  return [
    `<g font-size="11" fill="#475569">${cells(header, 50)}</g>`,
    ...rows.map((row, index) => {
      const y = 50 + (index + 1) * LEGEND_LINE;
      const swatch = `<line x1="${MARGIN - 8}" y1="${y - 4}" x2="${MARGIN + 14}" y2="${y - 4}" stroke="${colourOf(index)}" stroke-width="3"${dashOf(index)}/>`;
      return `${swatch}<g font-size="11">${cells(row, y)}</g>`;
    }),
    ...notes.map((note, index) => {
      const y = 50 + (index + 1 + rows.length) * LEGEND_LINE;
      return `<text x="${MARGIN}" y="${y}" fill="#b91c1c">${escaped(note)}</text>`;
    }),
  ];
}

/** A policy's letter beside what is drawn of it. */
function mark(index: number, x: number, y: number): string {
  return `<text x="${round(x)}" y="${round(y)}" font-size="10" fill="${colourOf(index)}">${markOf(index)}</text>`;
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
const dashOf = (index: number): string => {
  const dashes = DASHES[Math.floor(index / COLOURS.length) % DASHES.length] ?? "";
  return dashes === "" ? "" : ` stroke-dasharray="${dashes}"`;
};
const colourOf = (index: number): string => COLOURS[index % COLOURS.length] ?? "#000";

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
