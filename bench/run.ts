/**
 * The bench: the product beside the smallest thing that could do its job, in one run, in turns.
 *
 *     npm run bench [-- --rounds 5] [--only A,B,C,D,E,F,G,H] [--quick]
 *
 * Every figure is a ratio and holds on any machine; the absolute numbers are this machine's. See bench/README.md.
 */
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { batchLane } from "#bench/figures/batch-lane";
import { depthFigures } from "#bench/figures/depth";
import { dispatchTime } from "#bench/figures/dispatch";
import { endToEndRate } from "#bench/figures/end-to-end";
import { firstJob } from "#bench/figures/first-job";
import { idleGap } from "#bench/figures/idle-gap";
import { submitRate } from "#bench/figures/submit-rate";
import { syncCall } from "#bench/figures/sync-call";
import { type Figure, holds } from "#bench/measure";
import type { Plan } from "#bench/plan";
import { type Circumstances, reportOf } from "#bench/report";

const FIGURES: Readonly<Record<string, (plan: Plan) => Promise<Figure>>> = {
  A: syncCall,
  B: submitRate,
  C: dispatchTime,
  D: endToEndRate,
  E: depthFigures,
  F: idleGap,
  G: firstJob,
  H: batchLane,
};
const FULL = { jobs: 3_000, samples: 100, depths: [100_000, 1_000_000] };
const QUICK = { jobs: 800, samples: 30, depths: [20_000] };
const RESULTS = new URL("./results/", import.meta.url);

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: Object.keys(FIGURES).join(",") },
    quick: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const chosen = values.only.toUpperCase().split(",");
if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds takes a whole number, 1 or more");
const unknown = chosen.filter((id) => FIGURES[id] === undefined);
if (unknown.length > 0) throw new Error(`--only takes ${Object.keys(FIGURES).join(", ")}, not ${unknown.join(", ")}`);

const startedAt = new Date();
const figures: Figure[] = [];
for (const [id, measure] of Object.entries(FIGURES)) {
  if (!chosen.includes(id)) continue;
  const folder = await mkdtemp(join(tmpdir(), "pilotlight-bench-"));
  const say = (line: string): void => console.log(`${id}  ${line}`);
  try {
    figures.push(await measure({ folder, rounds, say, ...(values.quick ? QUICK : FULL) }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
const circumstances: Circumstances = {
  at: startedAt.toISOString(),
  commit: git("rev-parse", "--short", "HEAD"),
  changed: git("status", "--porcelain") !== "",
  command: `npm run bench -- ${process.argv.slice(2).join(" ")}`.replace(/ -- $/, ""),
  cores: availableParallelism(),
  cpu: cpus()[0]?.model ?? "unknown",
  node: process.version,
  workerd: await versionOf("workerd"),
  miniflare: await versionOf("miniflare"),
};
const report = reportOf(circumstances, figures);
await mkdir(RESULTS, { recursive: true });
const name = startedAt.toISOString().slice(0, 16).replaceAll(":", "");
await writeFile(new URL(`${name}.json`, RESULTS), `${JSON.stringify({ circumstances, figures }, null, 2)}\n`);
await writeFile(new URL("latest.md", RESULTS), report);
console.log(`\n${report}`);
// The floor's programs and the product's are down; what a killed one left open must not keep this one.
process.exit(figures.every((figure) => figure.bars.every(holds)) ? 0 : 1);

function git(...args: string[]): string {
  try {
    return execFileSync("git", args, { cwd: new URL("..", import.meta.url), encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

async function versionOf(dependency: string): Promise<string> {
  const text = await readFile(new URL(`../node_modules/${dependency}/package.json`, import.meta.url), "utf8");
  return String((JSON.parse(text) as { version?: unknown }).version ?? "unknown");
}
