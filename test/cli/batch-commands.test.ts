import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inputLines } from "#cli/batch-inputs";
import { CliError } from "#cli/errors";
import { timeOf } from "#cli/times";
import { runHere } from "#test/cli/command-line";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { exampleBatch, exampleEndpoint, exampleResult } from "#test/client/example-queue";
import { type Answer, json, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-batch-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const BATCH_ID = String(exampleBatch().id);
const env = (server: ScriptedServer) => ({
  PILOTLIGHT_TOKEN: "pl_x",
  PILOTLIGHT_API_URL: server.url,
  PILOTLIGHT_RETRY_S: "0",
});
const sent = (server: ScriptedServer, index: number) => server.seen[index]?.body ?? "";

async function written(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

describe("batch submit --file", () => {
  it("sends one job for each line, with every digit", async () => {
    const server = await scriptedServer(json(202, exampleBatch()));
    const path = await written("inputs.jsonl", '{"seed": 18446744073709551615}\r\n\n{"prompt": "a, b"}\n');
    const words = ["batch", "submit", "a", "--file", path, "--tag", "x", "--priority", "7", "--lane", "interactive"];
    const result = await runHere(words, { env: env(server) });
    expect(result.code).toBe(0);
    expect(server.seen[0]).toMatchObject({ method: "POST", url: "/v1/endpoints/a/batches" });
    expect(sent(server, 0)).toBe(
      '{"inputs":[{"seed":18446744073709551615},{"prompt":"a, b"}],"tags":["x"],"lane":"interactive","priority":7}',
    );
    expect(JSON.parse(result.stdout)).toMatchObject({ data: { batch: { id: BATCH_ID } } });
  });

  it("reads standard input", async () => {
    const server = await scriptedServer(json(202, exampleBatch()));
    await runHere(["batch", "submit", "a", "--file", "-"], { env: env(server), stdin: '{"steps": 1}\n{"steps": 2}' });
    expect(JSON.parse(sent(server, 0))).toEqual({ inputs: [{ steps: 1 }, { steps: 2 }], tags: [] });
  });

  it.each([
    ["{}\nnot json", "line 2"],
    ["[1]", "line 1"],
    ["\n\n", "no inputs"],
    ["{}\n".repeat(1_001), "more than 1000 lines"],
  ])("refuses %j", (text, words) => {
    expect(() => inputLines(text, "the file")).toThrow(CliError);
    expect(() => inputLines(text, "the file")).toThrow(words);
  });
});

describe("batch submit --sweep", () => {
  async function swept(words: string[]) {
    const server = await scriptedServer(json(200, exampleEndpoint()), json(202, exampleBatch()));
    return { server, result: await runHere(["batch", "submit", "a", ...words], { env: env(server) }) };
  }

  it("counts, lists, and reads a file of values, beside shared inputs", async () => {
    const path = await written("prompts.txt", "a fox, in the snow\n\nthe hare = fast\n");
    const { server } = await swept(["--sweep", `prompt=@${path}`, "--sweep", "seed=3..5", "-i", "steps=12"]);
    expect(JSON.parse(sent(server, 1))).toEqual({
      inputs: { steps: 12 },
      sweep: { prompt: ["a fox, in the snow", "the hare = fast"], seed: [3, 4, 5] },
      tags: [],
    });
    const listed = await swept(["--sweep", "steps=10, 20"]);
    expect(JSON.parse(sent(listed.server, 1))).toMatchObject({ inputs: {}, sweep: { steps: [10, 20] } });
  });

  it("counts beyond 2^53 exactly", async () => {
    const { server } = await swept(["--sweep", "seed=18446744073709551614..18446744073709551615"]);
    expect(sent(server, 1)).toContain('"seed":[18446744073709551614,18446744073709551615]');
  });

  it.each([
    [["--sweep", "seed=5..1"], "backwards"],
    [["--sweep", "seed=1..99999999999999999999"], "a batch takes 1000 jobs"],
    [["--sweep", "seed"], "name=values"],
    [["--sweep", "sed=1..2"], "no input sed"],
    [["--sweep", "seed=1,x"], "whole number"],
    [["--sweep", "seed=1,2", "--sweep", "seed=3"], "twice"],
    [["--sweep", "prompt=@/nonexistent/prompts.txt"], "cannot be read"],
    [["--sweep", "seed=1..2", "--file", "x"], "either --file or --sweep"],
    [[], "either --file or --sweep"],
    [["--file", "x", "-i", "a=b"], "-i goes with --sweep"],
  ])("refuses %j", async (words, message) => {
    const { server, result } = await swept(words);
    expect(result.code).toBe(2);
    expect(result.stdout).toContain(message);
    expect(server.seen.every(({ method }) => method === "GET")).toBe(true);
  });
});

describe("batch submit --wait", () => {
  const counts = (succeeded: number, failed: number) => ({
    queued: 0,
    running: 0,
    succeeded,
    failed,
    canceled: 0,
    expired: 0,
  });
  const content = "the picture";
  const output = {
    name: "image.png",
    output: "image",
    kind: "image",
    filename: "fox.png",
    content_type: "image/png",
    size: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
    url: "http://127.0.0.1/x",
  };
  const results: Answer = json(
    200,
    [0, 1].map((index) => `${JSON.stringify(exampleResult(index, { outputs: [output] }))}\n`).join(""),
  );
  const file: Answer = (_, response) => {
    response.writeHead(200, { "content-type": "image/png", "content-length": content.length });
    response.end(content);
  };
  const lines = '{"seed": 1}\n{"seed": 2}';

  it("shows how far it is, and downloads every output under its place", async () => {
    const done = exampleBatch({ state: "done", progress: 1, total: 2, counts: counts(2, 0) });
    const server = await scriptedServer(json(202, exampleBatch()), json(200, done), results, file);
    const out = join(folder, "out");
    const words = ["batch", "submit", "a", "--file", "-", "-o", out, "--progress", "plain"];
    const result = await runHere(words, { env: env(server), stdin: lines });
    expect(result.code).toBe(0);
    expect(result.stderr).toContain("2 of 2, 0 running");
    expect((await readdir(out)).toSorted()).toEqual(["0000-image.png", "0001-image.png"]);
    expect(await readFile(join(out, "0000-image.png"), "utf8")).toBe(content);
  });

  it("ends with 3 when jobs failed", async () => {
    const done = exampleBatch({ state: "done", progress: 1, total: 2, counts: counts(1, 1) });
    const server = await scriptedServer(json(202, exampleBatch()), json(200, done));
    const result = await runHere(["batch", "submit", "a", "--file", "-", "--wait"], { env: env(server), stdin: lines });
    expect(result.code).toBe(3);
    expect(JSON.parse(result.stdout)).toMatchObject({
      error: { code: "job_failed", message: "1 of 2 jobs succeeded" },
    });
  });

  it("leaves the jobs alone at Ctrl-C", async () => {
    const interrupt = new AbortController();
    const server = await scriptedServer(json(202, exampleBatch()), (_, response) => {
      interrupt.abort();
      response.destroy();
    });
    const words = ["batch", "submit", "a", "--file", "-", "--wait"];
    const result = await runHere(words, { env: env(server), stdin: lines, signal: interrupt.signal });
    expect(result.code).toBe(130);
    expect(JSON.parse(result.stdout)).toMatchObject({ error: { message: `${BATCH_ID} goes on` } });
    expect(server.seen).toHaveLength(2);
  });
});

describe("a batch", () => {
  it("is shown and canceled", async () => {
    for (const [verb, method, path] of [
      ["get", "GET", ""],
      ["cancel", "POST", "/cancel"],
    ] as const) {
      const server = await scriptedServer(json(200, exampleBatch({ progress: 0.5 })));
      const result = await runHere(["batch", verb, BATCH_ID], { env: env(server), isTerminal: true });
      expect(server.seen[0]).toMatchObject({ method, url: `/v1/batches/${BATCH_ID}${path}` });
      expect(result.stdout).toMatch(/█+ +50 % of 3 jobs: 3 queued/);
    }
  });

  it("has one result for each job", async () => {
    const error = { code: "out_of_memory", message: "x" };
    const failed = exampleResult(1, { state: "failed", error });
    const answer = json(200, `${JSON.stringify(exampleResult(0))}\n${JSON.stringify(failed)}\n`);
    const server = await scriptedServer(answer);
    const table = await runHere(["batch", "results", BATCH_ID], { env: env(server), isTerminal: true });
    expect(table.stdout).toMatch(new RegExp(`^# .*\n0 +${EXAMPLE_JOB_ID} +succeeded.*\n1 +.*out_of_memory`));
    const stream = await runHere(["batch", "results", BATCH_ID, "--json-stream"], { env: env(server) });
    const events = stream.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ event }) => event)).toEqual(["result", "result", undefined]);
  });
});

describe("times", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  it.each([
    ["90s", "2026-11-21T11:58:30.000Z"],
    ["30m", "2026-11-21T11:30:00.000Z"],
    ["1h", "2026-11-21T11:00:00.000Z"],
    ["2d", "2026-11-19T12:00:00.000Z"],
    ["1w", "2026-11-14T12:00:00.000Z"],
    ["2026-11-21", "2026-11-21T00:00:00.000Z"],
    ["2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00.000Z"],
  ])("%s is %s", (text, iso) => expect(timeOf(text, "since", now)).toBe(iso));

  it.each(["", "1", "1y", "-1h", "tomorrow", "2026-13-01", "2026-11-21T10:00:00", "12/24/2026"])("%j is none", (text) =>
    expect(() => timeOf(text, "since", now)).toThrow("--since"),
  );
});
