import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import { EXAMPLE_JOB_ID, exampleJob } from "#test/client/example-job";
import { type Answer, hangUp, json, problem, scriptedServer } from "#test/client/scripted-server";

const clientOf = (url: string) => new Pilotlight({ baseUrl: `${url}/`, token: "pl_key", retryForMs: 20_000 });

describe("submitting a job for its output", () => {
  const PNG = "\u0089PNG";
  const file: Answer = (_, response) => {
    response.writeHead(200, { "content-type": "image/png", "pilotlight-job": EXAMPLE_JOB_ID });
    response.end(PNG, "latin1");
  };

  it("gives the file of the answer, after one call that is repeated under one key", async () => {
    const server = await scriptedServer(hangUp, file);
    const answer = await clientOf(server.url).jobs.submitForOutput("a", { inputs: {} }, "image/png");
    if (answer.type !== "output") throw new Error("the answer was the job");
    expect(answer).toMatchObject({ jobId: EXAMPLE_JOB_ID, contentType: "image/png" });
    expect(Buffer.from(await answer.response.arrayBuffer()).toString("latin1")).toBe(PNG);
    expect(server.seen).toHaveLength(2);
    expect(server.seen[1]?.headers).toMatchObject({ accept: "image/png", prefer: "wait=60" });
    expect(server.seen[1]?.headers["idempotency-key"]).toBe(server.seen[0]?.headers["idempotency-key"]);
  });

  it("gives the job where the answer is one", async () => {
    const server = await scriptedServer(json(202, exampleJob()));
    const answer = await clientOf(server.url).jobs.submitForOutput("a", { inputs: {} }, "image/*", { waitS: 5 });
    expect(answer).toMatchObject({ type: "job", job: { id: EXAMPLE_JOB_ID, state: "queued" } });
    expect(server.seen[0]?.headers).toMatchObject({ accept: "image/*", prefer: "wait=5" });
  });

  it("fails where it is neither, or a refusal", async () => {
    const page: Answer = (_, response) => {
      response.writeHead(200, { "content-type": "image/png" }).end(PNG);
    };
    const { jobs } = clientOf((await scriptedServer(page, problem(429, "budget_exceeded", false))).url);
    const submit = () => jobs.submitForOutput("a", { inputs: {} }, "image/png");
    await expect(submit()).rejects.toMatchObject({ code: "invalid_answer" });
    await expect(submit()).rejects.toMatchObject({ code: "budget_exceeded" });
  });
});

describe("submitting a job", () => {
  it("sends one Idempotency-Key with every try, so that a lost answer makes no second job", async () => {
    const server = await scriptedServer(hangUp, problem(503, "unavailable", true), json(202, exampleJob()));
    const job = await clientOf(server.url).jobs.submit("text-to-image", { inputs: { prompt: "a fox" } });
    expect(job.id).toBe(EXAMPLE_JOB_ID);
    expect(server.seen).toHaveLength(3);
    const keys = new Set(server.seen.map(({ headers }) => headers["idempotency-key"]));
    expect(keys.size).toBe(1);
    expect([...keys][0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(new Set(server.seen.map(({ body }) => body)).size).toBe(1);
    expect(server.seen[0]).toMatchObject({
      method: "POST",
      url: "/v1/endpoints/text-to-image/jobs",
      headers: { authorization: "Bearer pl_key", "content-type": "application/json" },
    });
  });

  it("uses the caller's key, and asks the server to wait", async () => {
    const server = await scriptedServer(json(200, exampleJob({ state: "succeeded" })));
    await clientOf(server.url).jobs.submit("a", { inputs: {} }, { idempotencyKey: "mine", waitS: 600 });
    expect(server.seen[0]?.headers).toMatchObject({ "idempotency-key": "mine", prefer: "wait=60" });
  });

  it("keeps every digit of a whole number, out and back", async () => {
    const seed = 18_446_744_073_709_551_615n;
    const server = await scriptedServer(
      json(202, JSON.stringify(exampleJob()).replace('"inputs":{}', `"inputs":{"seed":${seed}}`)),
    );
    const job = await clientOf(server.url).jobs.submit("a", { inputs: { seed } });
    expect(server.seen[0]?.body).toContain(`"seed":${seed}`);
    expect(job.inputs.seed).toBe(seed);
  });

  it("waits as long as Retry-After says", async () => {
    const server = await scriptedServer(
      problem(429, "queue_full", true, { "retry-after": "1" }),
      json(202, exampleJob()),
    );
    const startedAt = performance.now();
    await clientOf(server.url).jobs.submit("a", { inputs: {} });
    // Timers may be a millisecond early; the pause without the header would be a quarter of a second at most.
    expect(performance.now() - startedAt).toBeGreaterThan(900);
  });

  it("passes on a refusal that a repeat cannot change, with its wrong fields", async () => {
    const server = await scriptedServer(
      json(422, {
        type: "/docs/problems#invalid_inputs",
        title: "Inputs do not fit",
        status: 422,
        code: "invalid_inputs",
        detail: "One input is wrong.",
        request_id: "req_9",
        retryable: false,
        errors: [{ path: "/inputs/width", reason: "too large", allowed: { maximum: 4096 } }],
      }),
    );
    const failure = clientOf(server.url).jobs.submit("a", { inputs: { width: 1e9 } });
    await expect(failure).rejects.toThrow(PilotlightError);
    await expect(failure).rejects.toMatchObject({
      code: "invalid_inputs",
      status: 422,
      requestId: "req_9",
      errors: [{ path: "/inputs/width" }],
    });
    expect(server.seen).toHaveLength(1);
  });
});

describe("calls that may not be repeated", () => {
  it("are not, after a lost answer", async () => {
    const server = await scriptedServer(hangUp, json(201, {}));
    const failure = clientOf(server.url).endpoints.patch("a", { workflow: "{}" });
    await expect(failure).rejects.toMatchObject({ code: "network_error", status: 0 });
    expect(server.seen).toHaveLength(1);
  });
});

describe("a caller who gives up", () => {
  it("gets its own reason at once", async () => {
    const server = await scriptedServer(() => {});
    const controller = new AbortController();
    const waiting = clientOf(server.url).jobs.get(EXAMPLE_JOB_ID, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("an answer that is none of ours", () => {
  it("is an error that says so, not a crash", async () => {
    const server = await scriptedServer(json(200, { hello: "world" }));
    await expect(clientOf(server.url).me()).rejects.toMatchObject({ code: "invalid_answer" });
  });

  it("is repeated when it is a proxy's 502", async () => {
    const server = await scriptedServer(json(502, "<html>"), json(200, { status: "ok", version: "1" }));
    await expect(clientOf(server.url).health()).resolves.toMatchObject({ status: "ok" });
  });
});

describe("addresses", () => {
  it("cannot be climbed out of by an id", async () => {
    const server = await scriptedServer(json(200, {}));
    await expect(clientOf(server.url).jobs.get("..")).rejects.toThrow(TypeError);
    await clientOf(server.url)
      .jobs.get("../keys?x=1")
      .catch(() => {});
    expect(server.seen[0]?.url).toBe("/v1/jobs/..%2Fkeys%3Fx%3D1");
  });
});

describe("lists", () => {
  it("are read page by page to the end", async () => {
    const server = await scriptedServer(
      json(200, { data: [exampleJob()], next_cursor: "c1" }),
      json(200, { data: [exampleJob(), exampleJob()], next_cursor: null }),
    );
    const states: string[] = [];
    for await (const job of clientOf(server.url).jobs.list({ state: "queued", limit: 2 })) states.push(job.state);
    expect(states).toHaveLength(3);
    expect(server.seen.map(({ url }) => url)).toEqual([
      "/v1/jobs?state=queued&limit=2",
      "/v1/jobs?state=queued&limit=2&cursor=c1",
    ]);
  });
});

describe("waiting for a job", () => {
  it("asks again until it has ended", async () => {
    const server = await scriptedServer(
      json(200, exampleJob({ state: "running", phase: "executing" })),
      hangUp,
      json(200, exampleJob({ state: "failed", phase: null })),
    );
    const job = await clientOf(server.url).jobs.wait(EXAMPLE_JOB_ID);
    expect(job.state).toBe("failed");
    expect(server.seen[0]?.headers.prefer).toBe("wait=60");
  });

  it("ends with wait_timeout when the job goes on", async () => {
    const server = await scriptedServer(json(200, exampleJob()));
    await expect(clientOf(server.url).jobs.wait(EXAMPLE_JOB_ID, { timeoutMs: 1 })).rejects.toMatchObject({
      code: "wait_timeout",
    });
  });
});
