import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { SeedRunner } from "./run-seeds.ts";
import { SEEN_IN_EVERY_RUN } from "./seen-in-every-run.ts";

const OPERATIONS = Number(process.env.PILOTLIGHT_SIMULATED_OPERATIONS ?? 1_000_000);
const SEEDS = Math.max(10, Math.ceil(OPERATIONS / 1_000));
const REGRESSIONS = new URL("./regressions/", import.meta.url);

/** The program as a person runs it. */
async function simulate(...flags: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", fileURLToPath(new URL("./main.ts", import.meta.url)), ...flags],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, output };
}

describe("the queue under every fault", () => {
  it(`keeps its promises through ${OPERATIONS} operations, and every fault meets every state of a job`, async () => {
    const { code, output } = await simulate("--ops", String(OPERATIONS), "--seeds", String(SEEDS), "--coverage");
    const [, operations, seeds, violations] =
      /operations=(\d+) seeds=(\d+) violations=(\d+)\n$/.exec(output) ?? expect.fail(output.slice(-5_000));
    expect({ code, violations }, output.slice(-8_000)).toEqual({ code: 0, violations: "0" });
    expect(Number(operations)).toBeGreaterThanOrEqual(OPERATIONS);
    expect(Number(seeds)).toBeGreaterThanOrEqual(SEEDS);
    // A short run, for a look in between, cannot have met everything.
    if (OPERATIONS < 1_000_000) return;
    const met = new Set(output.split("\n").map((line) => line.trim().replace(/^\d+\s+/, "")));
    expect(SEEN_IN_EVERY_RUN.paths.filter((path) => !met.has(path))).toEqual([]);
    expect(unmet(output)).toEqual([]);
  });

  it("does the same twice, whatever ran before", async () => {
    const fresh = new SeedRunner();
    const used = new SeedRunner();
    await used.run(7, 200);
    for (const seed of [1, 2, 3]) {
      const first = await fresh.run(seed, 300);
      const second = await used.run(seed, 300);
      expect(second.hash).toBe(first.hash);
      expect(second.operations).toBe(first.operations);
    }
    expect((await fresh.run(4, 300)).hash).not.toBe((await fresh.run(5, 300)).hash);
  });

  it("says which promise is broken, after what, and how to see it again", async () => {
    const { code, output } = await simulate("--seed", "1", "--seeds", "5", "--ops", "2000", "--mutant", "lifo");
    expect(code).toBe(1);
    expect(output).toMatch(/seed \d+ breaks I12 at operation \d+: /);
    expect(output).toMatch(/again: npm run simulate:queue -- --seed \d+ --seeds 1 --ops 400 --mutant lifo\n/);
    expect(output).toMatch(/operations=\d+ seeds=\d+ violations=[12]\n$/);
  });
});

describe("what was found once", () => {
  const runner = new SeedRunner();
  it.each(readdirSync(REGRESSIONS))("does not come back: %s", async (file) => {
    const { seed, operations } = JSON.parse(readFileSync(new URL(file, REGRESSIONS), "utf8")) as {
      seed: number;
      operations: number;
    };
    expect((await runner.run(seed, operations)).violation).toBeNull();
  });
});

/** Pairs of a fault and a state that the table of a run shows as never met. */
function unmet(output: string): string[] {
  const lines = output.split("\n");
  const head = lines.findIndex((line) => line.startsWith("fault "));
  const states = lines[head]?.trim().split(/\s+/).slice(1) ?? [];
  const missing: string[] = [];
  for (const fault of SEEN_IN_EVERY_RUN.faults) {
    const line = lines
      .slice(head)
      .find((candidate) => candidate.startsWith(`${fault}  `) || candidate.startsWith(`${fault} `));
    const times = line?.slice(fault.length).trim().split(/\s+/) ?? [];
    for (const state of SEEN_IN_EVERY_RUN.states) {
      const at = states.indexOf(state);
      if (at < 0 || Number(times[at] ?? 0) === 0) missing.push(`${fault} / ${state}`);
    }
  }
  return missing;
}
