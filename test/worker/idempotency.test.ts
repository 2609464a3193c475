import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { routes } from "#contract/api/all";
import { IDEMPOTENCY_KEY_MS } from "#contract/limits";
import { exampleBuild } from "#test/contract/example-build";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";
import { unansweredRoutes } from "#worker/app";
import { RUNNING_MS_MAX } from "#worker/catalog/idempotency-keys";

let workspace: TestWorkspace;
beforeEach(async () => {
  workspace = await makeWorkspace();
});
beforeAll(() => {
  // An import goes out by itself, and goes on after its test.
  vi.spyOn(globalThis, "fetch").mockImplementation(async () => new Response("no", { status: 404 }));
});

const newKey = { name: "ci", scopes: ["read"] };

const post = (path: string, key: string | undefined, json: unknown, as = workspace): Promise<Response> =>
  send("POST", path, { key: as.key, json, headers: key === undefined ? {} : { "idempotency-key": key } });

/** A body for each route that is marked `idempotent`. */
const BODIES: Readonly<Record<string, () => unknown>> = {
  createKey: () => newKey,
  createPod: () => ({ name: "rack" }),
  createEndpoint: () => ({ slug: "fox", workflow: textGraph() }),
  createBuild: () => exampleBuild,
  createJoinToken: () => ({ expires_in: 600 }),
  beginModel: () => ({ sha256: "a".repeat(64), size: 1_000, filename: "fox.safetensors", type: "loras" }),
  importModel: () => ({
    source: "https://models.example.com/fox.safetensors",
    filename: "fox.safetensors",
    type: "loras",
  }),
  createWebhook: () => ({ url: "https://hooks.example.com/in" }),
  rotateWebhookSecret: () => undefined,
  testWebhook: () => ({ event: "job.failed" }),
  redeliver: () => undefined,
  recoverWebhook: () => ({ since: "2026-01-01T00:00:00Z" }),
  createRelease: () => ({ workflow: textGraph(3) }),
  rollbackRelease: () => ({}),
};
/** What tells one made thing from another, in the answers of these routes. */
const NAMES = ["id", "key", "token", "secret", "previous", "digest", "number", "active_release", "recovered"];

const marked = routes.filter(
  (route) => "idempotent" in route && !("bodyTypes" in route) && !unansweredRoutes().includes(route.id),
);

/** A webhook of the kind listen, from which nothing goes out by itself. */
async function madeWebhook(): Promise<string> {
  return String((await jsonOf(await post("/v1/webhooks", undefined, { kind: "listen" }))).id);
}

/** The id of a delivery of that webhook. */
async function madeDelivery(webhook: string): Promise<string> {
  return String((await jsonOf(await post(`/v1/webhooks/${webhook}/test`, undefined, {}))).id);
}

/** How many keys of that name the workspace has. */
async function keysMade(as = workspace): Promise<number> {
  const { data } = await jsonOf(await send("GET", "/v1/keys?limit=100", { key: as.key }));
  return (data as { name: string }[]).filter(({ name }) => name === newKey.name).length;
}

/** Moves a call's row into the past, as if it had been written so much earlier. */
async function age(ms: number): Promise<void> {
  await env.CATALOG.prepare("UPDATE idempotency_keys SET created_at = created_at - ? WHERE workspace_id = ?")
    .bind(ms, workspace.workspaceId)
    .run();
}

/** Makes the call look as though its isolate had died in the middle. */
async function unanswer(): Promise<void> {
  await env.CATALOG.prepare("UPDATE idempotency_keys SET status = NULL, answer = NULL WHERE workspace_id = ?")
    .bind(workspace.workspaceId)
    .run();
}

/** A route's address in the workspace, with what it is about. */
async function addressOf(template: string): Promise<string> {
  const webhook = template.includes("{webhook}") ? await madeWebhook() : "";
  const delivery = template.includes("{delivery}") ? await madeDelivery(webhook) : "";
  if (template.includes("{endpoint}")) {
    // Two releases, so that one can be rolled back.
    await makeEndpoint(workspace.key, "wolf");
    await send("PATCH", "/v1/endpoints/wolf", { key: workspace.key, json: { workflow: textGraph(2) } });
  }
  return template
    .replace("{pod}", workspace.podId)
    .replace("{endpoint}", "wolf")
    .replace("{webhook}", webhook)
    .replace("{delivery}", delivery);
}

const rowsLeft = async (): Promise<unknown> =>
  env.CATALOG.prepare("SELECT COUNT(*) AS n FROM idempotency_keys WHERE workspace_id = ?")
    .bind(workspace.workspaceId)
    .first("n");

describe("a creating call with an Idempotency-Key", () => {
  it.each(marked)("$id runs once and answers the same again", async ({ id, path: template, status }) => {
    const path = await addressOf(template);
    const body = BODIES[id] ?? (() => expect.fail(`add a body for ${id}`));
    const first = await post(path, "k1", body());
    const again = await post(path, '"k1"', body());
    expect([first.status, again.status]).toEqual([status, status]);
    expect(first.headers.has("idempotency-replayed")).toBe(false);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("content-type")).toBe(first.headers.get("content-type"));
    expect(again.headers.get("request-id")).not.toBe(first.headers.get("request-id"));
    expect(await again.text()).toBe(await first.text());
    expect(await refusalOf(await post(path, "bad key!", body()))).toMatchObject({
      status: 400,
      code: "invalid_idempotency_key",
    });
  });

  it("takes it for uploads too, where the file's bytes count and not the form around them", async () => {
    const upload = (text: string) => {
      const body = new FormData();
      body.set("file", new Blob([text], { type: "text/plain" }), "a.txt");
      return send("POST", "/v1/files", { key: workspace.key, body, headers: { "idempotency-key": "k1" } });
    };
    const first = await upload("one");
    const again = await upload("one");
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await again.text()).toBe(await first.text());
    expect(await refusalOf(await upload("two"))).toMatchObject({ status: 422, code: "idempotency_key_reused" });
  });

  it("rotates a secret once, so that the one that receivers have still signs", async () => {
    const path = `/v1/webhooks/${await madeWebhook()}`;
    const { secret: known } = await jsonOf(await send("GET", `${path}/secret`, { key: workspace.key }));
    await post(`${path}/rotate`, "k1", undefined);
    await post(`${path}/rotate`, "k1", undefined);
    const { previous } = await jsonOf(await send("GET", `${path}/secret`, { key: workspace.key }));
    expect(previous).toBe(known);
  });

  it("makes one thing of fifty at a time; the others hear that it runs, or its answer", async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => post("/v1/keys", "k1", newKey)));
    const made = answers.filter(({ status }) => status === 201);
    const refused = answers.filter(({ status }) => status !== 201);
    expect(await keysMade()).toBe(1);
    expect(made.filter(({ headers }) => !headers.has("idempotency-replayed"))).toHaveLength(1);
    expect(new Set(await Promise.all(made.map((answer) => answer.text()))).size).toBe(1);
    for (const answer of refused) {
      expect(answer.headers.get("retry-after")).toBe("1");
      expect(await refusalOf(answer)).toMatchObject({ status: 409, code: "request_in_flight" });
    }
  });

  it("refuses the key with another body, and takes it for another operation and workspace", async () => {
    await post("/v1/keys", "k1", newKey);
    expect(await refusalOf(await post("/v1/keys", "k1", { ...newKey, name: "other" }))).toMatchObject({
      status: 422,
      code: "idempotency_key_reused",
    });
    expect((await post("/v1/endpoints", "k1", { slug: "fox", workflow: textGraph() })).status).toBe(201);
    const stranger = await makeWorkspace();
    const theirs = await post("/v1/keys", "k1", newKey, stranger);
    expect(theirs.status).toBe(201);
    expect(theirs.headers.has("idempotency-replayed")).toBe(false);
  });

  it("does not burn the key when it fails, whatever for", async () => {
    await post("/v1/endpoints", undefined, { slug: "fox", workflow: textGraph() });
    const taken = { slug: "fox", workflow: textGraph() };
    expect(await refusalOf(await post("/v1/endpoints", "k1", taken))).toMatchObject({
      status: 409,
      code: "slug_taken",
    });
    expect(await rowsLeft()).toBe(0);
    expect((await post("/v1/keys", "k1", { name: "" })).status).toBe(422);
    expect((await post("/v1/endpoints", "k1", { slug: "owl", workflow: textGraph() })).status).toBe(201);
    expect((await send("POST", "/v1/keys", { json: newKey, headers: { "idempotency-key": "k2" } })).status).toBe(401);
    expect((await post("/v1/keys", "k2", newKey)).status).toBe(201);
  });

  it("is taken over when its runner has died, and not before", async () => {
    await post("/v1/keys", "k1", newKey);
    await unanswer();
    expect(await refusalOf(await post("/v1/keys", "k1", newKey))).toMatchObject({ status: 409 });
    await age(RUNNING_MS_MAX);
    expect(await refusalOf(await post("/v1/keys", "k1", { ...newKey, name: "other" }))).toMatchObject({ status: 422 });
    const again = await post("/v1/keys", "k1", newKey);
    expect(again.status).toBe(201);
    expect(again.headers.has("idempotency-replayed")).toBe(false);
  });

  it.each(marked)("$id makes nothing twice when its runner died before the answer was kept", async (route) => {
    const path = await addressOf(route.path);
    const body = BODIES[route.id] ?? (() => expect.fail(`add a body for ${route.id}`));
    const first = await jsonOf(await post(path, "k1", body()));
    await unanswer();
    await age(RUNNING_MS_MAX);
    const again = await jsonOf(await post(path, "k1", body()));
    const named = Object.keys(first).filter((name) => NAMES.includes(name));
    expect(named.length).toBeGreaterThan(0);
    for (const name of named) expect(again[name]).toEqual(first[name]);
  });

  it("makes one key, and one rotation, however often its runner dies", async () => {
    const path = `/v1/webhooks/${await madeWebhook()}`;
    const { secret: known } = await jsonOf(await send("GET", `${path}/secret`, { key: workspace.key }));
    for (let death = 0; death < 3; death += 1) {
      await post("/v1/keys", "k1", newKey);
      await post(`${path}/rotate`, "k1", undefined);
      await unanswer();
      await age(RUNNING_MS_MAX);
    }
    expect(await keysMade()).toBe(1);
    const { previous } = await jsonOf(await send("GET", `${path}/secret`, { key: workspace.key }));
    expect(previous).toBe(known);
  });

  it("draws anew when the key is used again after a day", async () => {
    const first = await jsonOf(await post("/v1/keys", "k1", newKey));
    await age(IDEMPOTENCY_KEY_MS + 1);
    expect((await jsonOf(await post("/v1/keys", "k1", newKey))).id).not.toBe(first.id);
  });

  it("is over after a day, and its row goes", async () => {
    await post("/v1/keys", "k1", newKey);
    await post("/v1/keys", "k2", newKey);
    await age(IDEMPOTENCY_KEY_MS + 1);
    const again = await post("/v1/keys", "k1", { ...newKey, scopes: ["run"] });
    expect(again.status).toBe(201);
    expect(again.headers.has("idempotency-replayed")).toBe(false);
    await expect.poll(rowsLeft).toBe(1);
  });

  it("keeps no secret that a reader of the catalog could use", async () => {
    const { key } = await jsonOf(await post("/v1/keys", "k1", newKey));
    const row = await env.CATALOG.prepare("SELECT * FROM idempotency_keys WHERE workspace_id = ?")
      .bind(workspace.workspaceId)
      .first();
    expect(JSON.stringify(row)).not.toContain(String(key));
    // Sealed for this row alone: moved to another one, it opens nothing.
    await env.CATALOG.prepare("UPDATE idempotency_keys SET key = 'k2' WHERE workspace_id = ?")
      .bind(workspace.workspaceId)
      .run();
    expect(await refusalOf(await post("/v1/keys", "k2", newKey))).toMatchObject({ status: 422 });
  });
});
