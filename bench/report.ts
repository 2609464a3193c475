/** A run of the bench as a page for people. */
import { type Bar, type Figure, holds, median, type Series, shown } from "#bench/measure";

export interface Circumstances {
  /** ISO 8601 */
  readonly at: string;
  readonly commit: string;
  /** Whether the working tree differed from that commit. */
  readonly changed: boolean;
  readonly command: string;
  readonly cores: number;
  readonly cpu: string;
  readonly node: string;
  readonly workerd: string;
  readonly miniflare: string;
}

/** Markdown. */
export function reportOf(circumstances: Circumstances, figures: readonly Figure[]): string {
  const { at, commit, changed, command, cores, cpu, node, workerd, miniflare } = circumstances;
  const bars = figures.flatMap((figure) => figure.bars.map((bar) => ({ id: figure.id, bar })));
  const head = [
    "# Bench",
    "",
    `\`${command}\`, ${at}, commit ${commit}${changed ? " with changes" : ""}.`,
    `${cores} cores (${cpu}), Node ${node}, workerd ${workerd}, Miniflare ${miniflare}.`,
    "The load, the systems under test and the stand-in share these cores.",
    "",
    "| | what | measured | bar | holds |",
    "|---|---|---|---|---|",
    ...bars.map(
      ({ id, bar }) =>
        `| ${id} | ${bar.what} | ${shown(bar.value)} | ${boundText(bar)} | ${holds(bar) ? "yes" : "**no**"} |`,
    ),
  ];
  return `${[...head, ...figures.flatMap(sectionOf)].join("\n")}\n`;
}

function sectionOf({ id, title, series, notes }: Figure): string[] {
  return [
    "",
    `## ${id}. ${title}`,
    "",
    "| | median | rounds | |",
    "|---|---|---|---|",
    ...series.map(rowOf),
    ...notes.flatMap((note) => ["", note]),
  ];
}

function rowOf({ name, unit, rounds }: Series): string {
  return `| ${name} | ${shown(median(rounds))} | ${rounds.map(shown).join(" · ")} | ${unit} |`;
}

function boundText({ is, bound }: Bar): string {
  return `${is === "at most" ? "≤" : "≥"} ${bound}`;
}
