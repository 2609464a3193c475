import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { JSON_BODY_BYTES_MAX } from "#contract/limits";
import { jsonOf, makeEndpoint, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";
import { createApp } from "#worker/app";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox");
});

const submit = (body: BodyInit, headers: Record<string, string> = { "content-type": "application/json" }) =>
  send("POST", "/v1/endpoints/fox/jobs", { key: workspace.key, body, headers });

describe("every answer", () => {
  it.each(["/v1/me", "/nothing", "/v1/health", "/docs", "/v1/..%2fme"])(
    "of %s names its request and is no sniffing ground",
    async (path) => {
      const answer = await send("GET", path, { headers: { "request-id": "mine" } });
      expect(answer.headers.get("request-id")).toMatch(/^req_[0-9a-z]{20}$/);
      expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
      expect(answer.headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(answer.headers.get("cross-origin-resource-policy")).toBe("same-origin");
      expect(answer.headers.get("referrer-policy")).toBe("no-referrer");
      expect(answer.headers.get("x-frame-options")).toBe("DENY");
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    },
  );

  it("that refuses is a problem with a stable type", async () => {
    const answer = await send("GET", "/v1/me");
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(await jsonOf(answer)).toMatchObject({
      type: "/docs/problems#unauthenticated",
      status: 401,
      code: "unauthenticated",
      retryable: false,
      request_id: answer.headers.get("request-id"),
    });
  });

  it("opens nothing to other origins", async () => {
    for (const origin of ["https://evil.example", "null"]) {
      const answer = await send("GET", "/v1/me", { key: workspace.key, headers: { origin } });
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
      const preflight = await send("OPTIONS", "/v1/me", {
        headers: { origin, "access-control-request-method": "GET" },
      });
      expect(preflight.status).toBe(405);
    }
  });
});

describe("addresses", () => {
  it("that cannot be read, because the Host header is none, are refused", async () => {
    const request = new Request("https://pilotlight.test/v1/health");
    Object.defineProperty(request, "url", { value: "http://evil.example:99999/v1/health" });
    const context = createExecutionContext();
    const answer = await createApp().fetch(request, env, context);
    expect(await refusalOf(answer)).toEqual({ status: 400, code: "malformed_request" });
    expect(answer.headers.get("request-id")).toMatch(/^req_/);
  });

  it("with dot segments lead nowhere, whatever they would lead to", async () => {
    for (const method of ["GET", "HEAD"]) {
      const request = new Request("https://pilotlight.test/v1/me", { method });
      Object.defineProperty(request, "url", { value: "https://pilotlight.test/v1/endpoints/../me" });
      const answer = await createApp().fetch(request, env, createExecutionContext());
      expect(answer.status).toBe(404);
    }
  });

  it.each([
    "/nothing",
    "/v1",
    "/v1/unknown",
    "/v1/jobs/..%2f..%2fkeys",
    "/v1/jobs/%252e%252e",
    "/v1/jobs/%00",
    "/v1/jobs;x=1",
    "/v1/me;x=1",
    "//evil.example/v1/me",
    "/v1//me",
    "/v1/jobs/....",
    "/v1/%6de",
    "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha/outputs/..%5c..%5ca",
    "/v1/jobs/%c0%ae%c0%ae",
    "/v1/jobs/%ff",
    "/v1/jobs/%",
    "/agent/v1",
    "/agent/v1/nodes/x/y/z",
    "/V1/me",
  ])("%s is nowhere", async (path) => {
    const answer = await send("GET", path, { key: workspace.key });
    expect(answer.status).toBe(404);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
  });

  it.each([
    ["GET", "/v1/endpoints/fox/jobs", "POST"],
    ["PUT", "/v1/jobs", "GET, HEAD"],
    ["PUT", "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha", "GET, PATCH, HEAD"],
    ["DELETE", "/v1/me", "GET, HEAD"],
    ["POST", "/openapi.json", "GET, HEAD"],
    ["GET", "/agent/v1/nodes", "POST"],
  ])("%s %s is not taken there, but %s", async (method, path, allow) => {
    const answer = await send(method, path, { key: workspace.key, headers: { "x-http-method-override": "GET" } });
    expect(answer.headers.get("allow")).toBe(allow);
    expect(await refusalOf(answer)).toEqual({ status: 405, code: "method_not_allowed" });
  });

  it("with malformed names are as unknown as those of strangers", async () => {
    for (const [path, code] of [
      ["/v1/jobs/x", "job_not_found"],
      ["/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5hi", "job_not_found"],
      ["/v1/endpoints/Fox", "endpoint_not_found"],
      ["/v1/endpoints/a.b", "endpoint_not_found"],
      ["/v1/files/1", "file_not_found"],
      ["/v1/pods/pod_0dpx4n3m8k7q2wz6tgr1vyc5ha/nodes", "pod_not_found"],
    ]) {
      expect(await refusalOf(await send("GET", path ?? "", { key: workspace.key }))).toEqual({ status: 404, code });
    }
  });

  it.each([
    "/v1/jobs?limit=0",
    "/v1/jobs?limit=101",
    "/v1/jobs?limit=x",
    "/v1/jobs?limit=0x10",
    "/v1/jobs?limit=1e1",
    "/v1/jobs?limit=07",
    "/v1/jobs?limit=",
    "/v1/jobs?limit=%207",
    "/v1/jobs?limit=5.0",
    "/v1/jobs?state=done",
    "/v1/jobs?status=failed",
    "/v1/jobs?limit=1&limit=2",
    "/v1/me?x=1",
  ])("%s has a query that means nothing", async (path) => {
    expect(await refusalOf(await send("GET", path, { key: workspace.key }))).toMatchObject({
      status: 422,
      code: "invalid_query",
    });
  });
});

describe("a body that is not one JSON document", () => {
  const deep = (levels: number) => `{"inputs":${"[".repeat(levels)}${"]".repeat(levels)}}`;
  it.each([
    ["empty", ""],
    ["blank", "  \n"],
    ["truncated", '{"inputs": {'],
    ["followed by more", '{"inputs": {}} x'],
    ["two documents", "{}{}"],
    ["with a comment", '{"inputs": {} /* hi */}'],
    ["with NaN", '{"inputs": {"cfg": NaN}}'],
    ["65 levels deep", deep(64)],
    ["5,000 levels deep", deep(5_000)],
    ["200,000 levels deep", deep(200_000)],
    ["500,000 levels open", "[".repeat(500_000)],
    ["with equal keys", '{"inputs": {}, "inputs": {}}'],
    ["with a byte order mark", "\ufeff{}"],
    ["single quotes", "{'inputs': {}}"],
  ])("%s", async (_name, text) => {
    expect(await refusalOf(await submit(text))).toEqual({ status: 400, code: "malformed_json" });
  });

  it("that is not UTF-8", async () => {
    const bytes = new Uint8Array([
      ...new TextEncoder().encode('{"inputs": {"prompt": "'),
      0xff,
      0xfe,
      0x22,
      0x7d,
      0x7d,
    ]);
    expect(await refusalOf(await submit(bytes))).toEqual({ status: 400, code: "malformed_json" });
    const utf16 = new Uint8Array([0xff, 0xfe, 0x7b, 0, 0x7d, 0]);
    expect((await submit(utf16)).status).toBe(400);
  });

  it("that ends within a character, which leaves nothing behind for the next one", async () => {
    const cut = new TextEncoder().encode('{"inputs": {"prompt": "€').slice(0, -1);
    expect(await refusalOf(await submit(cut))).toEqual({ status: 400, code: "malformed_json" });
    expect((await submit('{"inputs": {"prompt": "€"}}')).status).toBe(202);
  });
});

describe("a JSON document that means nothing here", () => {
  it.each([
    ["null", "null", [""]],
    ["a list", "[]", [""]],
    ["a text", '"x"', [""]],
    ["inputs that are a list", '{"inputs": []}', ["/inputs"]],
    ["an unknown field", '{"input": {}}', ["/input"]],
    ["a field of the system's own", '{"state": "succeeded", "workspace_id": "x"}', ["/state", "/workspace_id"]],
    ["__proto__", '{"__proto__": {"lane": "batch"}}', ["/__proto__"]],
    [
      "several wrong fields",
      '{"lane": "fast", "priority": 10, "timeout": 0, "tags": [""]}',
      ["/lane", "/priority", "/tags/0", "/timeout"],
    ],
    ["a tag that no query could ask for", '{"tags": ["fox", "\\ud83d"]}', ["/tags/1"]],
    ["a fraction for a whole number", '{"priority": 1.5}', ["/priority"]],
    ["a text for a number", '{"priority": "1"}', ["/priority"]],
    ["a big number for a small one", '{"priority": 18446744073709551615}', ["/priority"]],
    ["a number no double holds", '{"inputs": {"cfg": 1e400}}', [""]],
    ["a number of 10,000 digits", `{"inputs": {"seed": ${"9".repeat(10_000)}}}`, [""]],
    ["a tag with a null character", '{"tags": ["a\\u0000b"]}', ["/tags/0"]],
  ])("%s", async (_name, text, paths) => {
    const refusal = await refusalOf(await submit(text));
    expect(refusal).toMatchObject({ status: 422, code: "invalid_body" });
    expect(refusal.paths?.toSorted()).toEqual(paths);
  });

  it.each([
    ["__proto__ as an input", '{"inputs": {"__proto__": {"a": 1}}}', ["/inputs/__proto__"]],
    ["a name with NUL", '{"inputs": {"a\\u0000b": 1}}', ["/inputs/a\u0000b"]],
    ["an operator", '{"inputs": {"prompt": {"$gt": ""}}}', ["/inputs/prompt"]],
    ["a reference", '{"inputs": {"prompt": {"$ref": "#/"}}}', ["/inputs/prompt"]],
    ["a text for a number", '{"inputs": {"steps": "1"}}', ["/inputs/steps"]],
    ["too much", '{"inputs": {"width": 1000000, "seed": 18446744073709551616}}', ["/inputs/seed", "/inputs/width"]],
    ["a slash in a name", '{"inputs": {"a/b~c": 1}}', ["/inputs/a~1b~0c"]],
  ])("%s", async (_name, text, paths) => {
    const refusal = await refusalOf(await submit(text));
    expect(refusal).toMatchObject({ status: 422, code: "invalid_inputs" });
    expect(refusal.paths?.toSorted()).toEqual(paths);
  });

  it("60,000 unknown inputs, told in few words", async () => {
    const fields = Array.from({ length: 60_000 }, (_, index) => `"k${index}":1`).join(",");
    const answer = await submit(`{"inputs":{${fields}}}`);
    expect(answer.status).toBe(422);
    expect((await answer.text()).length).toBeLessThan(100_000);
  });

  it("says in words what is wrong and what would be taken", async () => {
    const beyond = await jsonOf(await submit('{"priority": 18446744073709551616}'));
    expect(beyond.detail).toBe("/priority: Must be at most 2^53 - 1.");
    const body = await jsonOf(await submit('{"priority": 99}'));
    expect(body).toMatchObject({
      detail: "/priority: Must be at most 9.",
      errors: [{ path: "/priority", reason: "Must be at most 9.", allowed: { maximum: 9 } }],
    });
  });
});

describe("a body of the wrong kind", () => {
  it.each([
    ["none", {}],
    ["text", { "content-type": "text/plain" }],
    ["a form", { "content-type": "application/x-www-form-urlencoded" }],
    ["UTF-16", { "content-type": "application/json; charset=utf-16" }],
    ["JSON-like", { "content-type": "application/jsonp" }],
    ["gzip", { "content-type": "application/json", "content-encoding": "gzip" }],
    ["zstd", { "content-type": "application/json", "content-encoding": "zstd" }],
  ])("%s", async (_name, headers: Record<string, string>) => {
    const answer = await submit(new TextEncoder().encode("{}"), headers);
    expect(await refusalOf(answer)).toEqual({ status: 415, code: "unsupported_media_type" });
  });

  it.each([
    "application/json; charset=UTF-8",
    'application/json ;charset="utf-8"',
    "application/json;",
    "APPLICATION/JSON ; ",
  ])("takes JSON that says it is UTF-8, or nothing more: %j", async (type) => {
    const answer = await submit('{"lane": 1}', { "content-type": type });
    expect(answer.status).toBe(422);
  });
});

describe("a body that is too large", () => {
  it("by its length", async () => {
    const answer = await submit(`{"inputs":{"prompt":"${"a".repeat(JSON_BODY_BYTES_MAX)}"}}`);
    expect(await refusalOf(answer)).toEqual({ status: 413, code: "body_too_large" });
  });

  it("without saying so, is cut off where it passes the bound", async () => {
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 65_536;
        controller.enqueue(new Uint8Array(65_536).fill(0x20));
      },
    });
    expect(await refusalOf(await submit(endless))).toEqual({ status: 413, code: "body_too_large" });
    expect(sent).toBeLessThan(4 * JSON_BODY_BYTES_MAX);
  });

  it("a length that is a lie or no number is refused", async () => {
    for (const length of ["5", "-1", "1e3"]) {
      const answer = await submit("{}", { "content-type": "application/json", "content-length": length });
      expect(await refusalOf(answer)).toEqual({ status: 400, code: "malformed_request" });
    }
  });
});

describe("headers", () => {
  it.each(["", "a".repeat(256), "a b", "a, b", 'a"', "a/b"])("Idempotency-Key %j is malformed", async (value) => {
    const headers = { "content-type": "application/json", "idempotency-key": value };
    const answer = await submit('{"inputs": {}}', headers);
    expect(await refusalOf(answer)).toEqual({ status: 400, code: "invalid_idempotency_key" });
  });

  it("Last-Event-ID must be a number", async () => {
    const answer = await send("GET", "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha/events", {
      key: workspace.key,
      headers: { "last-event-id": "x" },
    });
    expect([400, 404]).toContain(answer.status);
  });
});
