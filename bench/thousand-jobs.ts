/**
 * Many jobs, one after the other, through the whole system: is any lost, doubled or changed on its way?
 *
 *     npm run bench:thousand [-- --jobs 1000]
 *
 * The stand-in is started here, so that the files it wrote can be compared with what callers get.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { Pilotlight } from "#client/pilotlight";

const STAND_IN = fileURLToPath(new URL("../gpu-agent/stand-in/main.ts", import.meta.url));
const SLUG = "one-colour";
const WORKFLOW = {
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "one-colour" } },
};

export interface ThousandJobs {
  readonly jobs: number;
  readonly succeeded: number;
  /** Ids of jobs whose one output is not, byte for byte, the one file that the stand-in wrote for them. */
  readonly wrong: readonly string[];
  /** Checksums that more than one job has, although each has a colour of its own. */
  readonly shared: readonly string[];
  /** Milliseconds from submit to the finished job in the caller's hands. */
  readonly ms: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
}

/**
 * Runs so many jobs on a system of its own and takes it down again.
 * @param report hears of every hundredth job
 */
export async function thousandJobs(jobs: number, report: (line: string) => void): Promise<ThousandJobs> {
  const folder = await mkdtemp(join(tmpdir(), "pilotlight-thousand-"));
  const standIn = await startStandIn(join(folder, "comfyui"));
  const stop = new AbortController();
  const stack = await startStack({ state: stateFolderAt(join(folder, "state")), port: 0, report, signal: stop.signal });
  try {
    await stack.startAgent({ kind: "url", url: standIn.url, found: null });
    await stack.client.endpoints.create({ slug: SLUG, workflow: WORKFLOW });
    return await runJobs(stack.client, jobs, join(folder, "comfyui", "output"), report);
  } finally {
    await stack.stop();
    standIn.process.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

async function runJobs(
  client: Pilotlight,
  jobs: number,
  written: string,
  report: (line: string) => void,
): Promise<ThousandJobs> {
  const times: number[] = [];
  const wrong: string[] = [];
  const claims = new Map<string, number>();
  let succeeded = 0;
  for (let number = 0; number < jobs; number += 1) {
    const startedAt = performance.now();
    // Each job has a colour of its own, so that no two have the same bytes.
    const job = await client.jobs.submit(SLUG, { inputs: { color: number * 16 } }, { waitS: 60 });
    times.push(performance.now() - startedAt);
    if (job.state === "succeeded") succeeded += 1;
    const [output] = job.outputs;
    const files = await filesBelow(join(written, "jobs", job.id));
    const arrived = output === undefined ? null : await client.outputs.bytes({ job: job.id, output });
    const isSame = files.length === 1 && arrived !== null && files[0]?.equals(arrived) === true;
    if (!isSame || job.outputs.length !== 1) wrong.push(job.id);
    if (arrived !== null) claims.set(sha256(arrived), (claims.get(sha256(arrived)) ?? 0) + 1);
    if ((number + 1) % 100 === 0) report(`${number + 1} of ${jobs}, ${succeeded} succeeded, ${wrong.length} wrong`);
  }
  times.sort((one, other) => one - other);
  const at = (share: number) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0);
  const shared = [...claims].filter(([, count]) => count > 1).map(([name]) => name);
  return { jobs, succeeded, wrong, shared, ms: { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) } };
}

/** Contents of all files in a folder and those below it; none when there is no such folder. */
async function filesBelow(folder: string): Promise<Buffer[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  return await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name))));
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function startStandIn(base: string): Promise<{ process: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [STAND_IN, "--port", "0", "--base-directory", base], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = (await once(lines, "line")) as [string];
  const { port } = JSON.parse(line) as { port: number };
  return { process: child, url: `http://127.0.0.1:${port}` };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { jobs: { type: "string", default: "1000" } } });
  const result = await thousandJobs(Number(values.jobs), (line) => console.log(line));
  console.log(JSON.stringify(result));
  const isGood = result.succeeded === result.jobs && result.wrong.length === 0 && result.shared.length === 0;
  process.exit(isGood ? 0 : 1);
}
