/** What callers see when a part of the platform does not answer. */
import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { EnqueueRequest } from "#durable-objects/endpoint/rpc";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  ORIGIN,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";
import { createApp } from "#worker/app";
import type { Env } from "#worker/env";
import { errorAnswer } from "#worker/http/error-handler";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox");
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** One request to an app of its own, some of whose bindings are broken. */
async function sendWith(
  bindings: Partial<Env>,
  method: string,
  path: string,
  json?: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const context = createExecutionContext();
  const request = new Request(`${ORIGIN}${path}`, {
    method,
    headers: { authorization: `Bearer ${workspace.key}`, "content-type": "application/json", ...headers },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  const answer = await createApp().fetch(request, { ...env, ...bindings }, context);
  await waitOnExecutionContext(context);
  return answer;
}

/** A namespace whose objects answer every call by `call`; the rest is the real one. */
function endpointsThat(call: (method: string, attempt: number) => Promise<unknown>): Env["ENDPOINTS"] {
  let attempts = 0;
  const stub = new Proxy(
    {},
    {
      get: (_target, method) => () => {
        attempts += 1;
        return call(String(method), attempts);
      },
    },
  );
  return new Proxy(env.ENDPOINTS, {
    get: (target, name) => (name === "getByName" ? () => stub : Reflect.get(target, name)),
  });
}

const brokenDatabase = new Proxy(env.CATALOG, {
  get: () => () => {
    throw new Error("D1_ERROR: no such host");
  },
});

const failure = (flags: object) => Object.assign(new Error("reset"), flags);

describe("an object that does not answer", () => {
  it("is asked once more, by a new stub, when the call can be repeated", async () => {
    const asked: string[] = [];
    const ENDPOINTS = endpointsThat(async (method, attempt) => {
      asked.push(method);
      if (attempt === 1) throw failure({ retryable: true });
      return { ok: true, jobs: [], cut: false };
    });
    const answer = await sendWith({ ENDPOINTS }, "GET", "/v1/jobs");
    expect(answer.status).toBe(200);
    expect(asked).toEqual(["listJobs", "listJobs"]);
  });

  it("is not asked again for a submit that could then be doubled", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const asked: string[] = [];
    const ENDPOINTS = endpointsThat(async (method) => {
      asked.push(method);
      throw failure({ retryable: true });
    });
    const answer = await sendWith({ ENDPOINTS }, "POST", "/v1/endpoints/fox/jobs", {});
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9]/);
    expect(await refusalOf(answer)).toEqual({ status: 503, code: "unavailable" });
    expect(asked).toEqual(["submit"]);
  });

  it.each([
    ["Prefer", "wait=5"],
    ["Accept", "text/event-stream"],
  ])("after it took a job is no reason to refuse it, with %s: %s", async (name, value) => {
    const ENDPOINTS = new Proxy(env.ENDPOINTS, {
      get: (target, member) =>
        member !== "getByName"
          ? Reflect.get(target, member)
          : (key: string) =>
              new Proxy(target.getByName(key), {
                get: (stub, method) =>
                  method === "enqueue"
                    ? (request: EnqueueRequest) => stub.enqueue(request)
                    : () => Promise.reject(failure({ retryable: true, overloaded: true })),
              }),
    });
    const answer = await sendWith({ ENDPOINTS }, "POST", "/v1/endpoints/fox/jobs", {}, { [name]: value });
    expect(answer.status).toBe(202);
    expect(await jsonOf(answer)).toMatchObject({ state: "queued" });
  });

  it("is left alone when it is overloaded", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const asked: string[] = [];
    const ENDPOINTS = endpointsThat(async (method) => {
      asked.push(method);
      throw failure({ retryable: true, overloaded: true });
    });
    const answer = await sendWith({ ENDPOINTS }, "GET", "/v1/jobs");
    expect(answer.status).toBe(503);
    expect(asked).toEqual(["listJobs"]);
  });

  it("hears of its endpoint at the next submit", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const ENDPOINTS = endpointsThat(async () => {
      throw failure({ retryable: true });
    });
    const made = await sendWith({ ENDPOINTS }, "POST", "/v1/endpoints", { slug: "unheard", workflow: textGraph() });
    expect(made.status).toBe(201);
    expect(String(log.mock.calls[0]?.[0])).toContain("configure_failed");
    expect(await submitJob(workspace.key, "unheard")).toMatchObject({ state: "queued" });
  });

  it("is told again of a deletion when the same call comes again", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    await makeEndpoint(workspace.key, "stuck");
    const job = await submitJob(workspace.key, "stuck");
    const ENDPOINTS = endpointsThat(async () => {
      throw failure({ retryable: true });
    });
    expect((await sendWith({ ENDPOINTS }, "DELETE", "/v1/endpoints/stuck")).status).toBe(503);
    expect((await send("GET", "/v1/endpoints/stuck", { key: workspace.key })).status).toBe(404);
    expect((await send("DELETE", "/v1/endpoints/stuck", { key: workspace.key })).status).toBe(204);
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(job.id)}`, { key: workspace.key }));
    expect(shown.state).toBe("canceled");
    expect((await send("DELETE", "/v1/endpoints/stuck", { key: workspace.key })).status).toBe(404);
  });
});

describe("a catalog that does not answer", () => {
  it("lets nobody in whom this isolate has not seen", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    const stranger = await makeWorkspace();
    const context = createExecutionContext();
    const request = new Request(`${ORIGIN}/v1/me`, { headers: { "x-api-key": stranger.key } });
    const answer = await createApp().fetch(request, { ...env, CATALOG: brokenDatabase }, context);
    expect(await refusalOf(answer)).toEqual({ status: 503, code: "unavailable" });
  });

  it("does not stop submits to endpoints it has shown", async () => {
    await submitJob(workspace.key, "fox");
    const answer = await sendWith({ CATALOG: brokenDatabase }, "POST", "/v1/endpoints/fox/jobs", {});
    expect(answer.status).toBe(202);
  });

  it("is what health tells", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    expect((await sendWith({ CATALOG: brokenDatabase }, "GET", "/v1/health")).status).toBe(503);
  });
});

describe("a surprise", () => {
  it("shows its request's name alone, and is logged in one line without inputs", async () => {
    const log = vi.spyOn(console, "error").mockReturnValue();
    const ENDPOINTS = endpointsThat(async () => {
      throw new TypeError("cannot read properties\nof the secret prompt");
    });
    const answer = await sendWith({ ENDPOINTS }, "POST", "/v1/endpoints/fox/jobs", { inputs: { prompt: "my secret" } });
    expect(answer.status).toBe(500);
    const text = await answer.text();
    expect(text).not.toContain("TypeError");
    expect(text).toContain(String(answer.headers.get("request-id")));
    const lines = log.mock.calls.map(([line]) => String(line));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      event: "request_failed",
      requestId: answer.headers.get("request-id"),
      path: "/v1/endpoints/fox/jobs",
    });
    expect(lines[0]).not.toMatch(/my secret|secret prompt|pl_|\n/);
  });

  it("deep inside another error is told by its innermost cause", () => {
    vi.spyOn(console, "error").mockReturnValue();
    const wrapped = new Error("Failed query", { cause: new Error("D1_ERROR: database is locked") });
    expect(errorAnswer(wrapped, "req_x", "GET", "/").status).toBe(503);
    const broken = new Error("Failed query", {
      cause: new Error("D1_ERROR: UNIQUE constraint failed: SQLITE_CONSTRAINT"),
    });
    expect(errorAnswer(broken, "req_x", "GET", "/").status).toBe(500);
  });
});

describe("a deployment without a signing secret", () => {
  it("signs nothing", async () => {
    vi.spyOn(console, "error").mockReturnValue();
    await submitJob(workspace.key, "fox");
    await submitJob(workspace.key, "fox");
    for (const SIGNING_SECRET of ["", "short"]) {
      expect((await sendWith({ SIGNING_SECRET }, "GET", "/v1/jobs?limit=1")).status).toBe(500);
    }
  });
});
