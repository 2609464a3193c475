import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { compare } from "#cli/simulate/compare";
import { comparisonSvg } from "#cli/simulate/comparison-svg";
import { comparisonText } from "#cli/simulate/comparison-text";
import type { Contender } from "#cli/simulate/contenders";
import { SeriesRecorder } from "#cli/simulate/series";
import { simulatedTrace } from "#cli/simulate/simulated-trace";
import { arrivalsOf } from "#durable-objects/autoscaler/replay/arrivals";
import { type FleetPolicy, replay } from "#durable-objects/autoscaler/replay/engine";
import { fixed } from "#durable-objects/autoscaler/replay/rivals/fixed";
import { readTrace } from "#durable-objects/autoscaler/replay/trace-file";
import type { CommandLineResult } from "#test/cli/command-line";
import { runHere } from "#test/cli/command-line";
import { exampleArrivals } from "#test/cli/example-arrivals";
import { exampleJob } from "#test/client/example-job";
import { exampleEndpoint } from "#test/client/example-queue";
import { json, scriptedServer } from "#test/client/scripted-server";

const EXAMPLE = fileURLToPath(new URL("../../examples/arrivals.csv", import.meta.url));

interface Policy {
  readonly name: string;
  readonly title: string;
  readonly gpu_s: number;
  readonly cost: number | null;
  readonly wait_p95_s: number;
  readonly over_bound: number | null;
  readonly replicas_most: number;
  readonly jobs_never_run: number;
  readonly batch: Readonly<Record<string, number>> | null;
}

const policiesOf = (result: CommandLineResult, at = 0): readonly Policy[] => {
  const { data } = JSON.parse(result.stdout) as { data: { comparisons: { policies: Policy[] }[] } };
  return data.comparisons[at]?.policies ?? [];
};

async function folder(files: Readonly<Record<string, string>>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "pilotlight-simulate-"));
  onTestFinished(() => rm(path, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

describe("the example trace", () => {
  it("is what its generator makes", async () => {
    expect(await readFile(EXAMPLE, "utf8")).toBe(exampleArrivals());
  });
});

describe("simulate --trace", () => {
  let shown: CommandLineResult;
  let svg = "";
  beforeAll(async () => {
    const path = await mkdtemp(join(tmpdir(), "pilotlight-simulate-"));
    const plot = join(path, "plan.svg");
    shown = await runHere(
      ["simulate", "--trace", EXAMPLE, "--gpu", "rtx-4090", "--wait-value", "1,10", "--bound", "--plot", plot],
      { isTerminal: true },
    );
    svg = shown.code === 0 ? await readFile(plot, "utf8") : "";
    await rm(path, { recursive: true });
  });

  it("shows policies side by side: cost, waits, bill and what happened over time", () => {
    expect([shown.code, shown.stderr]).toEqual([0, expect.not.stringContaining("error")]);
    expect(shown.stdout).toMatch(/^arrivals: [0-9]+ jobs in 48\.0 h/);
    for (const title of ["predictive, wait value 1 ", "predictive, wait value 10", "queue_delay, 4 s", "Knative KPA"]) {
      expect(shown.stdout).toContain(title);
    }
    expect(shown.stdout).toMatch(
      /POLICY +GPU-H +COST +BUSY +P50 +P95 +P99 +MEAN +COLD +BATCH P95 +BATCH MEAN +MISSED +STARTS +MOST +X BOUND/,
    );
    expect(shown.stdout).toContain("█ running  ▒ idle  ░ starting");
    expect(shown.stdout).toContain("mean wait");
  });

  it("draws the same as SVG, with nothing in it that runs or loads", () => {
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(svg.match(/<circle /g)?.length).toBe(2 * 6);
    expect(svg.match(/<polyline fill="none" stroke="#[0-9a-f]{6}" stroke-width/g)?.length).toBe(2 * 6);
    expect(svg).not.toMatch(/<script|href|NaN|Infinity/);
    for (const column of ["gpu-h", "p50", "p99", "cold", "starts", "batch p95"])
      expect(svg).toContain(`>${column}</text>`);
  });
});

describe("simulate", () => {
  it("bills what it says: start, job and idle time, at the price", async () => {
    const at = await folder({ "a.csv": "t,service_s\n100,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-60,fixed-2", "--cold-start", "30"];
    const result = await runHere([...argv, "--price", "36", "--json"]);
    expect(policiesOf(result)).toMatchObject([
      { name: "timer-60", gpu_s: 100, cost: 1, wait_p95_s: 30, over_bound: null },
      { name: "fixed-2", gpu_s: 7_200, wait_p95_s: 0 },
    ]);
  });

  it("bills a job that goes on after the last arrival's hour to its end, and the replica that did it to its stop", async () => {
    const at = await folder({ "a.csv": "t,service_s\n3500,3600\n" });
    const argv = [
      "simulate",
      "--trace",
      join(at, "a.csv"),
      "--policy",
      "timer-60,fixed-1",
      "--cold-start",
      "30",
      "--json",
    ];
    expect(policiesOf(await runHere(argv)).map(({ gpu_s }) => gpu_s)).toEqual([3_690, 7_100]);
  });

  it("calls a policy what it was asked for, also where another system has the same rule", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-60,modal", "--json"];
    expect(policiesOf(await runHere(argv)).map(({ name, title }) => [name, title])).toEqual([
      ["timer-60", "timer 60 s (Modal)"],
      ["modal", "Modal"],
    ]);
  });

  it("lets each endpoint of a trace scale for itself, or all together when told so", async () => {
    const at = await folder({ "a.csv": "t,service_s,endpoint\n0,10,x\n41,10,y\n" });
    const argv = [
      "simulate",
      "--trace",
      join(at, "a.csv"),
      "--policy",
      "request_count",
      "--idle-timeout",
      "20",
      "--json",
    ];
    expect(policiesOf(await runHere(argv))[0]?.gpu_s).toBe(120);
    expect(policiesOf(await runHere([...argv, "--one-endpoint"]))[0]?.gpu_s).toBe(71);
  });

  it("keeps warm what it is told to", async () => {
    const at = await folder({ "a.csv": "t,service_s\n100,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "predictive", "--min", "1", "--json"];
    expect(policiesOf(await runHere(argv))[0]).toMatchObject({ wait_p95_s: 0, gpu_s: 3_600 });
  });

  it("gives a warm floor to all from the first second, and holds them against somebody who has it as well", async () => {
    const at = await folder({
      "a.csv": `t,service_s\n${Array.from({ length: 36 }, (_, job) => `${job * 100},100\n`).join("")}`,
    });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "predictive,timer-10,knative,fixed-2"];
    const all = policiesOf(await runHere([...argv, "--min", "1", "--bound", "--json"]));
    expect(all.map(({ wait_p95_s }) => wait_p95_s)).toEqual([0, 0, 0, 0]);
    expect(all[0]).toMatchObject({ gpu_s: 3_600, over_bound: 1 });
    expect(all[1]).toMatchObject({ gpu_s: 3_600 });
    expect(all[3]).toMatchObject({ gpu_s: 7_200, over_bound: 2 });
  });

  it("tries several warm floors side by side", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n1800,10\n1800,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "request_count", "--min", "0,1,2", "--json"];
    const all = policiesOf(await runHere(argv));
    expect(all.map(({ name, title, wait_p95_s }) => [name, title, wait_p95_s])).toEqual([
      ["request_count-min-0", "request_count, 1 per replica, floor 0", 30],
      ["request_count-min-1", "request_count, 1 per replica, floor 1", 10],
      ["request_count-min-2", "request_count, 1 per replica, floor 2", 0],
    ]);
  });

  it("tries a value once that is given twice", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "predictive,request_count", "--json"];
    const once = policiesOf(await runHere([...argv, "--wait-value", "1,1.0", "--min", "0,0"]));
    expect(once.map(({ name }) => name)).toEqual(["predictive", "request_count"]);
    const several = policiesOf(await runHere([...argv, "--wait-value", "1,10,1", "--min", "1,0,1"]));
    expect(several.map(({ name }) => name)).toEqual([
      ...["predictive-1-min-1", "predictive-10-min-1", "request_count-min-1"],
      ...["predictive-1-min-0", "predictive-10-min-0", "request_count-min-0"],
    ]);
    // No list: a comma here is a decimal one.
    const price = await runHere([...argv, "--price", "1,1"]);
    expect([price.code, price.stdout]).toEqual([2, expect.stringContaining("--price is one number")]);
  });

  it("has a bound that no policy beats, however many replicas it may have", async () => {
    const at = await folder({ "a.csv": `t,service_s\n${"0,5\n".repeat(100)}` });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-1", "--cold-start", "0", "--bound"];
    const [policy] = policiesOf(await runHere([...argv, "--json"]));
    expect(policy).toMatchObject({ replicas_most: 100, over_bound: 600 / 500 });
  });

  it("counts the most replicas at once, of all endpoints together", async () => {
    const at = await folder({ "a.csv": "t,service_s,endpoint\n0,10,x\n1000,10,y\n1001,10,y\n" });
    const [policy] = policiesOf(
      await runHere(["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-10", "--json"]),
    );
    expect(policy?.replicas_most).toBe(2);
  });

  it("says how long batch jobs waited, and how many came too late", async () => {
    const at = await folder({ "a.csv": "t,service_s,lane\n0,100,batch\n0,100,batch\n0,5,interactive\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "request_count,modal", "--max", "1"];
    const late = [...argv, "--batch-deadline", "100"];
    const [own, other] = policiesOf(await runHere([...late, "--json"]));
    expect(own?.batch).toEqual({ jobs: 2, wait_p95_s: 135, wait_mean_s: 85, missed: 1, never_run: 0 });
    // It has no lanes: the batch jobs were there first.
    expect(other?.batch).toEqual({ jobs: 2, wait_p95_s: 130, wait_mean_s: 80, missed: 1, never_run: 0 });
    const shown = await runHere(late, { isTerminal: true });
    expect(shown.stdout).toMatch(/BATCH P95 +BATCH MEAN +MISSED +STARTS/);
  });

  it("has no waits of interactive jobs where there are none", async () => {
    const at = await folder({ "a.csv": "t,service_s,lane\n0,10,batch\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "request_count", "--batch-target-wait", "10"];
    expect(policiesOf(await runHere([...argv, "--json"]))[0]).toMatchObject({
      wait_p95_s: null,
      batch: { wait_p95_s: 40 },
    });
    const { stdout } = await runHere(argv, { isTerminal: true });
    expect(stdout).toMatch(/BUSY +BATCH P95/);
    expect(stdout).toContain("mean wait of batch jobs");
  });

  it("shows GPU-seconds, and as many digits of a cost as it takes, where everything is small", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-10", "--price", "0.3"];
    const { stdout } = await runHere(argv, { isTerminal: true });
    expect(stdout).toMatch(/POLICY +GPU-S +COST/);
    expect(stdout).toMatch(/timer 10 s .* 50\.0 +\$0\.00417 /);
    expect(stdout).toContain("10.0 GPU-seconds of work");
  });

  it("compares several traces one after the other", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n", "b.csv": "t,service_s\n0,20\n" });
    const traces = ["--trace", join(at, "a.csv"), "--trace", join(at, "b.csv")];
    const result = await runHere(["simulate", ...traces, "--policy", "timer-10", "--json"]);
    expect([policiesOf(result, 0)[0]?.gpu_s, policiesOf(result, 1)[0]?.gpu_s]).toEqual([50, 60]);
  });

  it("lets starts differ when told so, the same way every time", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\n900,10\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-10", "--cold-start-cv", "0.5", "--json"];
    const [one, other] = [await runHere(argv), await runHere(argv)];
    expect(policiesOf(one)[0]?.gpu_s).not.toBe(100);
    expect(one.stdout).toBe(other.stdout);
  });

  it("lists the policies it knows", async () => {
    const { stdout } = await runHere(["simulate", "--policy", "list"]);
    expect(stdout).toMatch(/^predictive /m);
    expect(stdout).toMatch(/^ray-serve +Ray Serve$/m);
  });

  it.each([
    [[], "Give --trace"],
    [["--trace", "a.csv", "--from-history", "x"], "Give --trace"],
    [["--trace", "a.csv", "--since", "1d"], "--since goes with --from-history"],
    [["--trace", EXAMPLE, "--policy", "knativ"], "--policy knows no knativ"],
    [["--trace", EXAMPLE, "--policy", ", "], "--policy names none"],
    [["--trace", EXAMPLE, "--policy", "fixed-101"], "--policy fixed-101 is above --max, which is 100"],
    [["--trace", EXAMPLE, "--policy", "knative,fixed-4", "--max", "3"], "--policy fixed-4 is above --max, which is 3"],
    [["--trace", EXAMPLE, "--gpu", "geforce"], "--gpu knows no geforce"],
    [["--trace", EXAMPLE, "--cold-start", "soon"], "--cold-start must be a number from 0 to 3600, not soon"],
    [["--trace", EXAMPLE, "--idle-timeout", "never"], "--idle-timeout must be a whole number from 1 to"],
    [["--trace", EXAMPLE, "--min", "5", "--max", "2"], "--min is 5, above --max, which is 2"],
    [["--trace", EXAMPLE, "--min", "0,1.5"], "--min must be whole numbers, not 1.5"],
    [["--trace", EXAMPLE, "--wait-value", "1", "--target-p95", "5"], "Give --wait-value or --target-p95"],
    [["--trace", EXAMPLE, "--jobs", "2"], "--jobs goes with --suite"],
    [["--trace", EXAMPLE, "--service", "long"], "--service must be a number from 0 to"],
    [["--from-history", "x", "--service", "5"], "--service goes with --trace"],
    [["--suite"], "there are none in traces, ../traces, ../shared/traces"],
    [["--suite", "--traces", "x", "--price", "1"], "takes no --price"],
    [["--suite", "--traces", "x", "--bound"], "takes no --bound"],
    [["--suite", "--traces", "x", "--one-endpoint"], "takes no --one-endpoint"],
    [["--trace", "nowhere.csv"], "nowhere.csv cannot be read"],
  ])("refuses %j", async (argv, expected) => {
    const result = await runHere(["simulate", ...argv], { isTerminal: true });
    expect([result.code, result.stdout]).toEqual([2, ""]);
    expect(result.stderr).toContain(expected);
  });

  it("takes arrivals from a log that does not say how long jobs take, once it is told", async () => {
    const at = await folder({ "a.csv": "2026-01-05T08:00:40Z\n2026-01-05T08:00:00Z\n" });
    const argv = ["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-60", "--cold-start", "30", "--json"];
    const refused = await runHere(argv.slice(0, -1), { isTerminal: true });
    expect(refused.stderr).toContain("a.csv: line 1: a second column must say how long the job takes");
    // A start, the first job, 0 s until the second, that one, and the idle time.
    expect(policiesOf(await runHere([...argv, "--service", "10"]))[0]?.gpu_s).toBe(30 + 10 + 10 + 60);
  });

  it("names the line of a trace that it cannot read", async () => {
    const at = await folder({ "a.csv": "t,service_s\n0,10\nx,10\n", "empty.csv": "t,service_s\n" });
    const result = await runHere(["simulate", "--trace", join(at, "a.csv")], { isTerminal: true });
    expect(result.stderr).toContain(
      'a.csv: line 3: t must be a number, 0 or more, or a time like 2026-01-05T08:00:00Z, not "x"',
    );
    const empty = await runHere(["simulate", "--trace", join(at, "empty.csv")], { isTerminal: true });
    expect(empty.stderr).toContain("empty.csv: it holds no jobs");
  });

  it("can be stopped in the middle of a replay, and says how far it is", async () => {
    const rows = Array.from({ length: 3 }, (_, endpoint) =>
      Array.from({ length: 4_000 }, (_, job) => `${job * 7},1,${endpoint}\n`).join(""),
    );
    const trace = simulatedTrace("a.csv", readTrace(`t,service_s,endpoint\n${rows.join("")}`), false);
    const contender = { name: "fixed-1", title: "one", isOurs: false, warm: 0, make: () => fixed(1) };
    const options = {
      bootS: 30,
      bootCv: 0,
      replicasMax: 1,
      warm: 0,
      batchDeadlineS: 86_400,
      pricePerHour: null,
      withBound: false,
      parts: 10,
    };
    const seen: number[] = [];
    const onStep = async (_: string, done: number) => {
      seen.push(done);
      if (done > 0.5) throw new Error("Interrupted");
    };
    await expect(compare(trace, [contender], { ...options, onStep })).rejects.toThrow("Interrupted");
    expect(seen.length).toBeGreaterThan(4);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
    expect(seen.at(-1)).toBeLessThan(0.75);
  });

  describe("beside a policy that never runs batch jobs, and others", () => {
    const contender = (name: string, make: () => FleetPolicy) => ({ name, title: name, isOurs: true, warm: 0, make });
    const options = { bootS: 30, bootCv: 0, replicasMax: 5, warm: 0, batchDeadlineS: 86_400, pricePerHour: 1 };
    const compared = async (contenders: readonly Contender[]) => {
      const trace = simulatedTrace("a.csv", readTrace("t,service_s,lane\n0,10,batch\n5,10,batch\n"), false);
      return compare(trace, contenders, { ...options, withBound: true, parts: 10, onStep: async () => {} });
    };

    it("marks it and lets it look cheap nowhere", async () => {
      const lazy = contender("lazy", () => ({ decide: () => undefined }));
      const comparison = await compared([lazy, contender("fixed", () => fixed(1))]);
      const text = comparisonText(comparison).join("\n");
      expect(text).toContain("lazy: 2 jobs NEVER RAN, 2 of them batch jobs");
      expect(text).toMatch(/^A +lazy +\(0\) +\(\$0\.00\) /m);
      expect(text).toMatch(/^lazy +2 jobs never ran$/m);
      expect(text).not.toMatch(/│.*A/);
      expect(comparison.compared.map(({ overBound }) => overBound === null)).toEqual([true, false]);
      const svg = comparisonSvg(comparison);
      expect(svg.match(/<circle /g)?.length).toBe(2);
      expect(svg).toContain("2 jobs NEVER RAN");
    });

    it("draws each of forty so that it can be told from the others", async () => {
      const svg = comparisonSvg(
        await compared(Array.from({ length: 40 }, (_, at) => contender(`p${at}`, () => fixed(1)))),
      );
      const lines = svg.match(/<polyline fill="none" stroke="#[0-9a-f]{6}" stroke-width="1.2"[^p]*/g) ?? [];
      expect([lines.length, new Set(lines).size]).toEqual([80, 40]);
    });
  });

  it("reads UTF-16, which PowerShell writes", async () => {
    const at = await folder({});
    await writeFile(join(at, "a.csv"), Buffer.from("\uFEFFt,service_s\r\n100,10\r\n", "utf16le"));
    const result = await runHere(["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-60", "--json"]);
    expect(policiesOf(result)[0]?.gpu_s).toBe(100);
  });

  it("refuses a plot that cannot be written before it replays anything", async () => {
    const at = await folder({ "a.csv": "t,service_s\n100,10\n" });
    for (const plot of [join(at, "nowhere", "plan.svg"), at]) {
      const result = await runHere(["simulate", "--trace", join(at, "a.csv"), "--plot", plot], { isTerminal: true });
      expect([result.code, result.stderr]).toEqual([1, expect.stringContaining(`error: --plot ${plot}: `)]);
      expect(result.stderr).toContain("hint: --plot takes the name of a file");
      expect(result.stderr).not.toContain("predictive");
    }
  });

  it("overwrites no file with a plot but a plot", async () => {
    const files = { "a.csv": "t,service_s\n100,10\n", "trace.svg": "t,service_s\n100,10\n", "old.svg": "<svg></svg>" };
    const at = await folder(files);
    const plotted = (trace: string, plot: string) =>
      runHere(["simulate", "--trace", join(at, trace), "--policy", "modal", "--plot", join(at, plot)], {
        isTerminal: true,
      });
    const refused = await plotted("a.csv", "a.csv");
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("its name must end in .svg")]);
    const other = await plotted("trace.svg", "trace.svg");
    expect([other.code, other.stderr]).toEqual([
      2,
      expect.stringContaining("there is a file of this name which is no SVG"),
    ]);
    expect(await readFile(join(at, "a.csv"), "utf8")).toBe(files["a.csv"]);
    expect(await readFile(join(at, "trace.svg"), "utf8")).toBe(files["trace.svg"]);
    expect((await plotted("a.csv", "old.svg")).code).toBe(0);
    expect(await readFile(join(at, "old.svg"), "utf8")).toContain("Modal");
  });

  it("reads a trace that is packed, or comes from standard input", async () => {
    const at = await folder({});
    const text = "t,service_s,tokens\n100,10,5\n";
    await writeFile(join(at, "a.csv.gz"), gzipSync(text));
    await writeFile(join(at, "broken.csv.gz"), gzipSync(text).subarray(0, 20));
    const argv = ["simulate", "--policy", "timer-60", "--trace"];
    const packed = await runHere([...argv, join(at, "a.csv.gz"), "--json"]);
    expect(policiesOf(packed)[0]?.gpu_s).toBe(100);
    expect(packed.stderr).toContain("a.csv.gz: these columns are not used: tokens");
    const piped = await runHere([...argv, "-"], { stdin: text, isTerminal: true });
    expect(piped.stdout).toMatch(/^standard input: 1 jobs/);
    const broken = await runHere([...argv, join(at, "broken.csv.gz")], { isTerminal: true });
    expect([broken.code, broken.stderr]).toEqual([
      2,
      expect.stringContaining("broken.csv.gz: it is gzip that breaks off"),
    ]);
  });

  it("says what it takes for the endpoint where no column is called so", async () => {
    const at = await folder({ "a.csv": "t,service_s,model\n0,10,x\n5,10,y\n" });
    const result = await runHere(["simulate", "--trace", join(at, "a.csv"), "--policy", "timer-10"], {
      isTerminal: true,
    });
    expect(result.stderr).toContain("a.csv: model is taken for the endpoint: there are 2");
    expect(result.stdout).toContain("2 jobs on 2 endpoints");
  });

  it("says what to do with a trace that is too large", async () => {
    const at = await folder({ "a.csv": "" });
    await truncate(join(at, "a.csv"), 64_000_001);
    const result = await runHere(["simulate", "--trace", join(at, "a.csv")], { isTerminal: true });
    expect([result.code, result.stderr]).toEqual([2, expect.stringMatching(/at most 64000000 are read/)]);
    expect(result.stderr).toContain("hint: Leave out columns that it does not need, or replay a part of it");
  });
});

describe("a replay over time", () => {
  it("is the most at once in each part, all endpoints together", () => {
    const recorder = new SeriesRecorder();
    const options = { horizonS: 100, bootS: 0, keepTimeline: true };
    for (const start of [10, 15]) {
      const arrivals = arrivalsOf([0, 1, 2].map((job) => ({ t: start + job, serviceS: 3 })));
      recorder.add(arrivals, replay(arrivals, fixed(start === 10 ? 1 : 2), options));
    }
    // One waits from 11 on and two from 12 on, until 13 and 16; one from 17 until 18 on the other endpoint.
    const { endS, replicas, waiting } = recorder.series(50);
    expect([endS, new Set(replicas)]).toEqual([100, new Set([3])]);
    expect([...waiting.slice(4, 10)]).toEqual([0, 1, 2, 1, 1, 0]);
  });
});

describe("simulate --from-history", () => {
  const idOf = (minute: number) => `job_0dpx4n3m8k7q2wz6tgr1vyc5h${minute}`;
  const ended = (minute: number) =>
    exampleJob({
      id: idOf(minute),
      state: "succeeded",
      created_at: `2026-11-21T10:0${minute}:00.000Z`,
      started_at: `2026-11-21T10:0${minute}:30.000Z`,
      finished_at: `2026-11-21T10:0${minute}:40.000Z`,
      // The replica's start is in it under names that a job's own phases have, too.
      timeline: ["preparing", "loading", "executing"].map((phase) => ({
        phase,
        attempt: phase === "executing" ? 1 : 0,
        started_at: `2026-11-21T10:0${minute}:00.000Z`,
        ms: 10_000,
      })),
    });
  /** 10 s of a replica, unless a test says otherwise. */
  const attempt = (minute: number, changes: Record<string, unknown> = {}) => ({
    lease_id: `lse_0dpx4n3m8k7q2wz6tgr1vyc5h${minute}-1`,
    job_id: idOf(minute),
    endpoint_id: "ep_0dpx4n3m8k7q2wz6tgr1vyc5hb",
    key_id: "key_0dpx4n3m8k7q2wz6tgr1vyc5hc",
    release: 1,
    lane: "interactive",
    tags: [],
    attempt: 1,
    replica_id: "rep_0dpx4n3m8k7q2wz6tgr1vyc5hd",
    node_id: "node_0dpx4n3m8k7q2wz6tgr1vyc5he",
    started_at: `2026-11-21T10:0${minute}:30.000Z`,
    ended_at: `2026-11-21T10:0${minute}:40.000Z`,
    ms: 10_000,
    outcome: "completed",
    ...changes,
  });
  const page = (data: unknown[], next_cursor: string | null = null) => json(200, { data, next_cursor });

  /** 40 s are measured unless a test says otherwise. */
  const scaling = (coldStartS: number | null = 40) =>
    json(200, {
      policy: "predictive",
      wanted: 0,
      floor: 0,
      ceiling: 1,
      replicas: { starting: 0, idle: 0, busy: 0, draining: 0 },
      waiting: { interactive: 0, batch: 0 },
      cold_start_s: coldStartS,
      service_s: null,
      reason: "",
      warm: null,
      decisions: [],
    });

  it("replays the endpoint's own jobs against its own settings and its own starts", async () => {
    const endpoint = json(200, exampleEndpoint());
    const server = await scriptedServer(
      endpoint,
      scaling(),
      page([ended(2), ended(1)], "c2"),
      page([ended(0), exampleJob()]),
      page([attempt(0), attempt(1, { ms: 4_000 })], "c3"),
      page([attempt(1, { attempt: 2, ms: 6_000 }), attempt(2)]),
    );
    const result = await runHere(
      ["simulate", "--from-history", "text-to-image", "--since", "2026-11-20", "--policy", "timer-300", "--json"],
      { env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url } },
    );
    expect(server.seen.map(({ url }) => url)).toEqual([
      "/v1/endpoints/text-to-image",
      "/v1/endpoints/text-to-image/scaling?limit=1",
      "/v1/jobs?endpoint=text-to-image&created_after=2026-11-20T00%3A00%3A00.000Z&limit=100",
      "/v1/jobs?endpoint=text-to-image&created_after=2026-11-20T00%3A00%3A00.000Z&limit=100&cursor=c2",
      "/v1/usage?endpoint=text-to-image&since=2026-11-21T10%3A00%3A00.000Z&limit=100",
      "/v1/usage?endpoint=text-to-image&since=2026-11-21T10%3A00%3A00.000Z&limit=100&cursor=c3",
    ]);
    // One replica at most, by the settings: 40 s, jobs at 0, 60 and 120 s, 300 s idle.
    expect(policiesOf(result)[0]).toMatchObject({ gpu_s: 130 + 300, wait_p95_s: 40 });
    expect(result.stderr).toContain("1 jobs have not run or not ended and are left out");
  });

  it.each([
    [[], 5, 5],
    [["--idle-timeout", "7"], 7, 7],
    [["--idle-timeout", "auto"], 60, 0],
    [["--idle-timeout", "none"], 60, 0],
  ])(
    "tries an endpoint that has an idle time with it, with another and with a learned one: %j",
    async (more, ruled, learned) => {
      const example = exampleEndpoint();
      const settings = { ...(example.settings as object), idle_timeout_s: 5 };
      const server = await scriptedServer(
        json(200, { ...example, settings }),
        scaling(),
        page([ended(0)]),
        page([attempt(0)]),
      );
      const result = await runHere(
        ["simulate", "--from-history", "text-to-image", "--policy", "request_count,predictive", ...more, "--json"],
        { env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url } },
      );
      expect(policiesOf(result).map(({ gpu_s }) => gpu_s)).toEqual([50 + ruled, 50 + learned]);
    },
  );

  it.each([
    [40, [], "starts take 40 s: text-to-image has measured 40 s\n", 40],
    [40, ["--cold-start", "20"], "starts take 20 s, as --cold-start says; text-to-image has measured 40 s\n", 20],
    [null, ["--cold-start", "20"], "starts take 20 s, as --cold-start says; text-to-image has measured none\n", 20],
    [
      null,
      [],
      "starts take 30 s, which is a guess: text-to-image has measured none; --cold-start says how long they take\n",
      30,
    ],
  ])("says how long starts take and who says so: measured %j, given %j", async (measured, more, note, coldStartS) => {
    const server = await scriptedServer(
      json(200, exampleEndpoint()),
      scaling(measured),
      page([ended(0)]),
      page([attempt(0)]),
    );
    const argv = ["simulate", "--from-history", "text-to-image", "--policy", "timer-5", ...more];
    const result = await runHere(argv, {
      env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url },
      isTerminal: true,
    });
    expect([result.code, result.stderr]).toEqual([0, expect.stringContaining(note)]);
    expect(result.stdout).toContain(`, starts of ${coldStartS} s`);
  });

  it("keeps replicas warm by the endpoint's schedule, at the times at which the jobs came", async () => {
    const example = exampleEndpoint();
    const window = { days: ["sat"], from: "10:10", to: "10:20", time_zone: "UTC", replicas: 1 };
    const settings = { ...(example.settings as object), warm_schedule: [window] };
    const endpoint = json(200, { ...example, settings });
    const server = await scriptedServer(endpoint, scaling(null), page([ended(0)]), page([attempt(0)]));
    const result = await runHere(
      ["simulate", "--from-history", "text-to-image", "--policy", "request_count", "--idle-timeout", "5", "--json"],
      { env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url } },
    );
    // The job's own 45 s, and ten minutes of warmth from the start that is made when the window opens.
    expect(policiesOf(result)[0]?.gpu_s).toBe(45 + 600);
  });

  it("has those warm from the first second that the schedule keeps then, and says that other systems have none", async () => {
    const example = exampleEndpoint();
    const window = { days: ["sat"], from: "09:00", to: "10:20", time_zone: "UTC", replicas: 1 };
    const settings = { ...(example.settings as object), warm_schedule: [window] };
    const endpoint = json(200, { ...example, settings });
    const server = await scriptedServer(endpoint, scaling(null), page([ended(0)]), page([attempt(0)]));
    const result = await runHere(
      [
        "simulate",
        "--from-history",
        "text-to-image",
        "--policy",
        "request_count,timer-5",
        "--idle-timeout",
        "5",
        "--json",
      ],
      { env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url } },
    );
    expect(policiesOf(result)).toMatchObject([
      { wait_p95_s: 0, gpu_s: 1_200 },
      { wait_p95_s: 30, gpu_s: 45 },
    ]);
    expect(result.stderr).toContain(
      "other systems keep the warm floor of --min or the settings, but not the warm schedule",
    );
  });

  it("says when there is nothing to replay", async () => {
    const server = await scriptedServer(json(200, exampleEndpoint()), scaling(), page([]));
    const result = await runHere(["simulate", "--from-history", "text-to-image"], {
      env: { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url },
      isTerminal: true,
    });
    expect([result.code, result.stderr]).toEqual([2, expect.stringContaining("No job of text-to-image has run since")]);
  });
});

describe("simulate --suite", () => {
  it("prints every trace with rivals, bounds and goals, from threads of its own", async () => {
    const jobs = Array.from({ length: 30 }, (_, index) => `${index * 97},5`).join("\n");
    const at = await folder({ "tiny.csv": `t,service_s\n${jobs}\n` });
    const result = await runHere(["simulate", "--suite", "--traces", at, "--jobs", "1"], { isTerminal: true });
    expect([result.code, result.stderr]).toEqual([0, expect.stringContaining("tiny, starts of 30 s: lanes")]);
    for (const start of [8, 30, 90]) expect(result.stdout).toContain(`tiny, starts of ${start} s: 30 jobs`);
    expect(result.stdout).toMatch(/^Knative KPA +[0-9.]+ /m);
    expect(result.stdout).toMatch(/^G1 +(met|MISSED): score/m);
    expect(result.stdout).toMatch(/^G10 +(met|MISSED): /m);
  });

  it("compares with no bound where the jobs take no time", async () => {
    const at = await folder({ "idle.csv": "t,service_s\n0,0\n9000,0\n" });
    const result = await runHere(["simulate", "--suite", "--traces", at, "--jobs", "1"], { isTerminal: true });
    expect([result.code, result.stdout]).toEqual([0, expect.stringMatching(/^Knative KPA .* -$/m)]);
    expect(result.stdout).not.toMatch(/Infinity|NaN/);
  });

  it.each([
    ["t,service_s,lane\n0,5,batch\n9000,5,batch\n", "it has no interactive job"],
    ["t,service_s\n0,5\n299,5\n", "it has no interactive job after the first 300 s"],
  ])("refuses a trace in which nobody's wait would count, %j", async (text, reason) => {
    const at = await folder({ "a.csv": text });
    const result = await runHere(["simulate", "--suite", "--traces", at, "--jobs", "1"], { isTerminal: true });
    expect([result.code, result.stderr]).toEqual([2, expect.stringContaining(`a.csv: ${reason}`)]);
  });

  it("finds the traces where they usually lie", async () => {
    const at = await folder({});
    await mkdir(join(at, "traces"));
    await writeFile(join(at, "traces", "broken.csv"), "no trace\n");
    const result = await runHere(["simulate", "--suite"], { isTerminal: true, workingDirectory: at });
    expect(result.stderr).toContain("traces/broken.csv: line 1: the header must name");
  });

  it("ends with an interrupt", async () => {
    const at = await folder({ "tiny.csv": "t,service_s\n400,5\n" });
    const signal = AbortSignal.abort(new Error("Interrupted"));
    const result = await runHere(["simulate", "--suite", "--traces", at, "--jobs", "1"], { signal, isTerminal: true });
    expect(result.code).toBe(130);
  });

  it("says when a folder holds no traces", async () => {
    const at = await folder({ "a.txt": "" });
    const result = await runHere(["simulate", "--suite", "--traces", at], { isTerminal: true });
    expect(result.stderr).toContain("holds no .csv file");
    const nowhere = await runHere(["simulate", "--suite", "--traces", join(at, "x")], { isTerminal: true });
    expect([nowhere.code, nowhere.stderr]).toEqual([
      2,
      expect.stringMatching(/x cannot be read: there is no such file/),
    ]);
    expect(nowhere.stderr).toContain("hint: --traces takes a folder");
  });
});
