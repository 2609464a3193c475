import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { makeSecret } from "#contract/access";
import { joinToken } from "#test/worker/agent-node";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

describe("an API key", () => {
  it("opens the API in each of its three spellings", async () => {
    for (const headers of [
      { authorization: `Bearer ${workspace.key}` },
      { authorization: `Key ${workspace.key}` },
      { "x-api-key": workspace.key },
    ]) {
      const answer = await send("GET", "/v1/me", { headers });
      expect(await jsonOf(answer)).toMatchObject({ workspace_id: workspace.workspaceId, scopes: ["admin"] });
    }
  });

  it.each([
    ["none", {}],
    ["Basic", { authorization: "Basic dXNlcjpwYXNz" }],
    ["a cookie", { cookie: "key=pl_000" }],
    ["an empty one", { "x-api-key": "" }],
    ["only the prefix", { authorization: "Bearer pl_" }],
    ["a wrong checksum", { authorization: `Bearer pl_${"0".repeat(33)}` }],
    ["an unknown one", { authorization: `Bearer ${makeSecret("pl", randomBytes)}` }],
    ["a join token's kind", { authorization: `Bearer ${makeSecret("plj", randomBytes)}` }],
    ["SQL", { "x-api-key": "' OR 1=1 --" }],
    ["a very long one", { "x-api-key": "a".repeat(60_000) }],
    ["a forged address", { "x-forwarded-for": "127.0.0.1", "cf-connecting-ip": "127.0.0.1" }],
    ["alg none", { authorization: `Bearer ${btoa('{"alg":"none"}')}.${btoa('{"sub":"a"}')}.` }],
  ])("is refused as 401: %s", async (_name, headers: Record<string, string>) => {
    const answer = await send("GET", "/v1/me", { headers });
    expect(answer.headers.get("www-authenticate")).toContain("Bearer");
    expect(await refusalOf(answer)).toEqual({ status: 401, code: "unauthenticated" });
  });

  it("is refused in the query, where logs would keep it", async () => {
    expect((await send("GET", `/v1/me?api_key=${workspace.key}`)).status).toBe(401);
  });

  it("is refused beside a second one", async () => {
    const answer = await send("GET", "/v1/me", { key: workspace.key, headers: { "x-api-key": workspace.key } });
    expect(answer.status).toBe(401);
  });

  it("is stored as a hash alone", async () => {
    const rows = await env.CATALOG.prepare("SELECT * FROM api_keys").all();
    expect(JSON.stringify(rows.results)).not.toContain(workspace.key);
  });
});

describe("keys of a workspace", () => {
  it("are made, listed without their secret, and revoked", async () => {
    const made = await jsonOf(
      await send("POST", "/v1/keys", { key: workspace.key, json: { name: "app", scopes: ["run", "run"] } }),
    );
    expect(made).toMatchObject({ name: "app", scopes: ["run"], expires_at: null, revoked_at: null });
    const secret = String(made.key);
    expect((await send("GET", "/v1/me", { key: secret })).status).toBe(403);
    const listed = await jsonOf(await send("GET", "/v1/keys", { key: workspace.key }));
    expect(JSON.stringify(listed)).not.toContain(secret);
    expect(listed.data).toEqual(expect.arrayContaining([expect.objectContaining({ id: made.id })]));

    expect((await send("DELETE", `/v1/keys/${String(made.id)}`, { key: workspace.key })).status).toBe(204);
    expect((await send("GET", "/v1/me", { key: secret })).status).toBe(401);
    expect((await send("DELETE", `/v1/keys/${String(made.id)}`, { key: workspace.key })).status).toBe(204);
  });

  it("end when they expire", async () => {
    const body = { name: "short", scopes: ["read"], expires_in: 60 };
    const made = await jsonOf(await send("POST", "/v1/keys", { key: workspace.key, json: body }));
    await env.CATALOG.prepare("UPDATE api_keys SET expires_at = 1 WHERE id = ?").bind(String(made.id)).run();
    expect((await send("GET", "/v1/me", { key: String(made.key) })).status).toBe(401);
  });

  it("are paged, newest first, by cursors no other list or workspace takes", async () => {
    for (let index = 0; index < 3; index += 1) {
      await send("POST", "/v1/keys", { key: stranger.key, json: { name: `k${index}`, scopes: ["read"] } });
    }
    const first = await jsonOf(await send("GET", "/v1/keys?limit=2", { key: stranger.key }));
    const second = await jsonOf(
      await send("GET", `/v1/keys?limit=2&cursor=${String(first.next_cursor)}`, { key: stranger.key }),
    );
    const names = [first, second].flatMap((page) => (page.data as { name: string }[]).map((key) => key.name));
    expect(names).toEqual(["k2", "k1", "k0", "test"]);
    expect(second.next_cursor).toBeNull();
    for (const path of [
      `/v1/endpoints?cursor=${String(first.next_cursor)}`,
      "/v1/keys?cursor=abc",
      "/v1/keys?cursor=%00",
    ]) {
      expect(await refusalOf(await send("GET", path, { key: stranger.key }))).toMatchObject({
        status: 400,
        code: "invalid_cursor",
      });
    }
    const foreign = await send("GET", `/v1/keys?cursor=${String(first.next_cursor)}`, { key: workspace.key });
    expect(foreign.status).toBe(400);
  });

  it("are out of reach for strangers", async () => {
    const made = await jsonOf(
      await send("POST", "/v1/keys", { key: workspace.key, json: { name: "mine", scopes: ["read"] } }),
    );
    const answer = await send("DELETE", `/v1/keys/${String(made.id)}`, { key: stranger.key });
    expect(await refusalOf(answer)).toEqual({ status: 404, code: "key_not_found" });
    expect((await send("GET", "/v1/me", { key: String(made.key) })).status).toBe(200);
  });

  it("need names, scopes and no invented fields", async () => {
    const answer = await send("POST", "/v1/keys", {
      key: workspace.key,
      json: { scopes: ["root"], workspace_id: stranger.workspaceId },
    });
    expect(await refusalOf(answer)).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/name", "/scopes/0", "/workspace_id"],
    });
  });
});

describe("scopes", () => {
  it.each([
    ["read", "POST", "/v1/endpoints/fox/jobs"],
    ["read", "POST", "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha/cancel"],
    ["read", "POST", "/v1/files"],
    ["read", "POST", "/v1/endpoints"],
    ["read", "DELETE", "/v1/endpoints/fox"],
    ["run", "GET", "/v1/jobs"],
    ["run", "PATCH", "/v1/endpoints/fox"],
    ["deploy", "GET", "/v1/keys"],
    ["deploy", "POST", "/v1/keys"],
    ["run", "GET", "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha/outputs/a.png"],
  ] as const)("%s is not enough for %s %s", async (scope, method, path) => {
    const { key } = await makeWorkspace([scope]);
    expect(await refusalOf(await send(method, path, { key }))).toEqual({ status: 403, code: "missing_scope" });
  });
});

describe("the two kinds of callers", () => {
  it("cannot use each other's credentials", async () => {
    const token = await joinToken(workspace);
    expect((await send("GET", "/v1/me", { key: token })).status).toBe(401);
    const asNode = await send("POST", "/agent/v1/nodes", {
      key: workspace.key,
      headers: { "pilotlight-protocol": "1" },
      json: { name: "m", agent_version: "1", comfyui: "x", gpus: [], slots: 1 },
    });
    expect(asNode.status).toBe(401);
  });
});

describe("health", () => {
  it("needs no key", async () => {
    const answer = await send("GET", "/v1/health");
    expect(await jsonOf(answer)).toMatchObject({ status: "ok" });
  });
});
