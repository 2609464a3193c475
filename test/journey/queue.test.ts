import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Batch, BatchResult } from "#contract/batch";
import type { Operation } from "#contract/queue";
import type { UsageRow } from "#contract/usage";
import { System } from "#test/journey/system";

/** A queue as an operator works with it: by the command line, against the whole product. */
let system: System;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-queue-"));
  system = await System.start();
  await system.deploy("model-free", { slug: "bands", settings: { max_replicas: 2 } });
});
afterAll(async () => {
  await system?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a command that succeeds, and answers the data of its envelope. */
async function done<Data>(...words: string[]): Promise<Data> {
  const { code, stdout, stderr } = await system.run(...words);
  expect(code, `${words.join(" ")}: ${stdout}${stderr}`).toBe(0);
  return (JSON.parse(stdout) as { data: Data }).data;
}

describe("a batch by the command line", () => {
  it("becomes one picture for each combination, and one row of usage for each attempt", async () => {
    const out = join(folder, "pictures");
    const size = ["-i", "width=64", "-i", "height=64"];
    const sweep = ["--sweep", "left=1..3", "--sweep", "blend_mode=screen,multiply"];
    const { batch } = await done<{ batch: Batch }>("batch", "submit", "bands", ...sweep, ...size, "-o", out);
    expect(batch).toMatchObject({ state: "done", total: 6, counts: { succeeded: 6 }, progress: 1 });
    expect(await readdir(out)).toHaveLength(6);
    const { results } = await done<{ results: BatchResult[] }>("batch", "results", batch.id);
    expect(results.map(({ inputs }) => [inputs.left, inputs.blend_mode])).toEqual(
      [1, 2, 3].flatMap((left) => ["screen", "multiply"].map((mode) => [left, mode])),
    );
    const jobs = new Set<string>(results.map(({ job_id }) => job_id));
    const { data } = await done<{ data: UsageRow[] }>("usage", "--endpoint", "bands", "--since", "1h", "--all");
    expect(data.filter(({ job_id, outcome }) => jobs.has(job_id) && outcome === "completed")).toHaveLength(6);
  });
});

describe("a paused queue", () => {
  it("is looked into, put in another order, purged, and run again", async () => {
    await done("queue", "pause", "bands", "--reason", "a new driver");
    const lines = join(folder, "inputs.jsonl");
    await writeFile(lines, [1, 2, 3, 4].map((left) => `{"left": ${left}, "width": 64, "height": 64}\n`).join(""));
    await done("batch", "submit", "bands", "--file", lines, "--tag", "night");
    const order = async () =>
      (await done<{ data: { job_id: string }[] }>("queue", "ls", "bands")).data.map(({ job_id }) => job_id);
    const before = await order();
    expect(before).toHaveLength(4);
    const last = before.at(-1) ?? "";
    const { why } = await done<{ why: { reasons: { code: string }[] } }>("queue", "why", last);
    expect(why.reasons[0]?.code).toBe("paused");
    await done("queue", "bump", last);
    expect(await order()).toEqual([last, ...before.slice(0, 3)]);

    const refused = await system.run("queue", "purge", "bands");
    expect(refused.code).toBe(2);
    const purged = await done<{ operation: Operation }>("queue", "purge", "bands", "--tag", "night", "--yes");
    expect(purged.operation).toMatchObject({ kind: "purge", state: "done", changed: 4 });
    expect(await order()).toEqual([]);

    await done("queue", "resume", "bands");
    const again = await done<{ operation: Operation }>(
      ...["jobs", "retry", "--endpoint", "bands", "--state", "canceled", "--tag", "night"],
    );
    expect(again.operation.created_jobs).toHaveLength(4);
    for (const job of again.operation.created_jobs) {
      expect((await system.client.jobs.wait(job)).state).toBe("succeeded");
    }
  });
});
