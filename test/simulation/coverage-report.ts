import type { Coverage } from "./coverage.ts";

/** What a run really did, as two tables in plain text. */
export function coverageReport(coverage: Coverage): string {
  const states = sorted([...coverage.pairs.keys()].map((pair) => pair.split("\t")[1] ?? ""));
  const faults = sorted([...coverage.pairs.keys()].map((pair) => pair.split("\t")[0] ?? ""));
  const width = Math.max(...faults.map((fault) => fault.length), 5);
  const lines = [["fault".padEnd(width), ...states.map((state) => state.padStart(10))].join(" ")];
  for (const fault of faults) {
    const times = states.map((state) => String(coverage.pairs.get(`${fault}\t${state}`) ?? 0).padStart(10));
    lines.push([fault.padEnd(width), ...times].join(" "));
  }
  lines.push("", "what happened");
  for (const path of sorted([...coverage.paths.keys()])) {
    lines.push(`${String(coverage.paths.get(path)).padStart(10)}  ${path}`);
  }
  return `${lines.join("\n")}\n`;
}

function sorted(words: readonly string[]): string[] {
  return [...new Set(words)].sort();
}
