import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import { EXAMPLE_JOB_ID, exampleJob } from "#test/client/example-job";
import { exampleBatch, exampleOperation, exampleResult } from "#test/client/example-queue";
import { type Answer, hangUp, json, problem, scriptedServer } from "#test/client/scripted-server";

const clientOf = (url: string) => new Pilotlight({ baseUrl: url, token: "pl_key", retryForMs: 20_000 });
const lines = (...results: unknown[]): Answer =>
  json(200, results.map((result) => `${JSON.stringify(result)}\n`).join(""), {
    "content-type": "application/x-ndjson",
  });

describe("calls that make something", () => {
  it.each([
    ["a retry", (client: Pilotlight) => client.jobs.retry(EXAMPLE_JOB_ID), 202, exampleJob()],
    ["a batch", (client: Pilotlight) => client.batches.submit("a", { inputs: [{}] }), 202, exampleBatch()],
    ["a purge", (client: Pilotlight) => client.queues.purge("a", { confirm: "a" }), 202, exampleOperation()],
    ["a redrive", (client: Pilotlight) => client.queues.redrive("a", { all: true }), 202, exampleOperation()],
    [
      "an operation",
      (client: Pilotlight) => client.queues.operate("a", { action: "cancel", selection: { tag: "x" } }),
      202,
      exampleOperation(),
    ],
  ])("%s is repeated under one Idempotency-Key", async (_, call, status, answer) => {
    const server = await scriptedServer(hangUp, problem(503, "unavailable", true), json(status, answer));
    await call(clientOf(server.url));
    const keys = server.seen.map(({ headers }) => headers["idempotency-key"]);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
  });

  it("use the key they are given", async () => {
    const server = await scriptedServer(json(202, exampleJob()));
    await clientOf(server.url).jobs.retry(EXAMPLE_JOB_ID, { idempotencyKey: "mine" });
    expect(server.seen[0]?.headers["idempotency-key"]).toBe("mine");
  });
});

describe("lists of a queue", () => {
  it("go on through pages that are empty", async () => {
    const server = await scriptedServer(
      json(200, { data: [], next_cursor: "c1" }),
      json(200, { data: [exampleJob()], next_cursor: null }),
    );
    const found: string[] = [];
    for await (const job of clientOf(server.url).jobs.list({ lane: "batch", error_code: "out_of_memory" })) {
      found.push(job.id);
    }
    expect(found).toEqual([EXAMPLE_JOB_ID]);
    expect(server.seen.map(({ url }) => url)).toEqual([
      "/v1/jobs?lane=batch&error_code=out_of_memory",
      "/v1/jobs?lane=batch&error_code=out_of_memory&cursor=c1",
    ]);
  });
});

describe("waiting for a batch", () => {
  it("tells each state and ends with the last", async () => {
    const done = exampleBatch({ state: "done", progress: 1 });
    const server = await scriptedServer(json(200, exampleBatch()), hangUp, json(200, done));
    const seen: number[] = [];
    const batch = await clientOf(server.url).batches.wait("batch_0dpx4n3m8k7q2wz6tgr1vyc5ha", {
      onProgress: (now) => seen.push(now.progress),
    });
    expect(batch.state).toBe("done");
    expect(seen).toEqual([0, 1]);
  });

  it("ends with wait_timeout when jobs go on", async () => {
    const server = await scriptedServer(json(200, exampleBatch()));
    const waiting = clientOf(server.url).batches.wait("batch_0dpx4n3m8k7q2wz6tgr1vyc5ha", { timeoutMs: 1 });
    await expect(waiting).rejects.toMatchObject({ code: "wait_timeout" });
  });
});

describe("waiting for an operation", () => {
  it("ends when it was canceled too", async () => {
    const server = await scriptedServer(
      json(200, exampleOperation({ state: "running", finished_at: null })),
      json(200, exampleOperation({ state: "canceled" })),
    );
    const operation = await clientOf(server.url).operations.wait("op_0dpx4n3m8k7q2wz6tgr1vyc5ha");
    expect(operation.state).toBe("canceled");
  });
});

describe("a batch's results", () => {
  const read = async (url: string) => {
    const found: unknown[] = [];
    for await (const result of clientOf(url).batches.results("batch_0dpx4n3m8k7q2wz6tgr1vyc5ha")) {
      found.push([result.index, result.inputs.seed]);
    }
    return found;
  };

  it("arrive one by one, with every digit", async () => {
    const text = `${JSON.stringify(exampleResult(0)).replace('"seed":0', '"seed":18446744073709551615')}\n`;
    const server = await scriptedServer(json(200, `${text}\n${JSON.stringify(exampleResult(1))}`));
    expect(await read(server.url)).toEqual([
      [0, 18_446_744_073_709_551_615n],
      [1, 1],
    ]);
  });

  it("come once each though the connection breaks in the middle of a line", async () => {
    const cut: Answer = (_, response) => {
      response.writeHead(200, { "content-type": "application/x-ndjson" });
      response.write(`${JSON.stringify(exampleResult(0))}\n${JSON.stringify(exampleResult(1)).slice(0, 40)}`, () =>
        response.destroy(),
      );
    };
    const server = await scriptedServer(cut, lines(exampleResult(0), exampleResult(1), exampleResult(2)));
    expect(await read(server.url)).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
    ]);
    expect(server.seen).toHaveLength(2);
  });

  it("that are none of ours are an error, not a silence", async () => {
    const server = await scriptedServer(lines({ hello: "world" }));
    await expect(read(server.url)).rejects.toMatchObject({ code: "invalid_answer" });
  });
});
