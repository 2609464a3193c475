import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { WEBHOOKS_PER_WORKSPACE_MAX } from "#contract/limits";
import type { WebhooksRpc } from "#durable-objects/webhooks/rpc";
import { eventually } from "#test/durable-objects/endpoint/objects";
import { isSigned, isSignedBy, noContent, outside, type Posted } from "#test/durable-objects/webhooks/outside";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  await makeEndpoint(workspace.key, "picture");
});
afterEach(() => {
  vi.restoreAllMocks();
});

const call = (method: string, path: string, json?: unknown, key = workspace.key) =>
  send(method, path, { key, ...(json === undefined ? {} : { json }) });
const answer = async (method: string, path: string, json?: unknown, key = workspace.key): Promise<JsonObject> =>
  jsonOf(await call(method, path, json, key));

async function subscribe(more: Record<string, unknown> = {}): Promise<JsonObject> {
  const made = await call("POST", "/v1/webhooks", { url: "https://hooks.example.org/in", ...more });
  expect(made.status).toBe(201);
  return jsonOf(made);
}

const listed = async (path: string): Promise<JsonObject[]> => {
  const { data } = await answer("GET", path);
  if (!Array.isArray(data)) throw new Error("no list");
  return data.filter(isJsonObject);
};

/** The delivery, once it has that state. */
const ended = (path: string, state: string): Promise<JsonObject> =>
  eventually(async () => {
    const shown = await answer("GET", path);
    return shown.state === state ? shown : null;
  });

const tryOut = async (id: unknown, event?: string): Promise<string> => {
  const { id: delivery } = await answer("POST", `/v1/webhooks/${id}/test`, event === undefined ? undefined : { event });
  return `/v1/webhooks/${id}/deliveries/${delivery}`;
};

describe("a webhook", () => {
  it("is made with a secret that only this answer and its own address show", async () => {
    const made = await subscribe({ description: "for the shop" });
    expect(made).toMatchObject({
      kind: "http",
      state: "enabled",
      events: ["job.succeeded", "job.failed", "job.canceled", "job.expired", "webhook.disabled"],
      endpoint_id: null,
      failing_since: null,
    });
    expect(made.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const shown = await answer("GET", `/v1/webhooks/${made.id}`);
    expect(shown).toEqual({ ...made, secret: undefined });
    expect(await listed("/v1/webhooks")).toContainEqual(shown);
    expect(await answer("GET", `/v1/webhooks/${made.id}/secret`)).toMatchObject({
      secret: made.secret,
      previous: null,
    });
  });

  it("changes and goes", async () => {
    const { id } = await subscribe();
    const changed = await answer("PATCH", `/v1/webhooks/${id}`, {
      url: "https://hooks.example.org/other",
      events: ["job.failed", "job.failed"],
      description: null,
    });
    expect(changed).toMatchObject({ url: "https://hooks.example.org/other", events: ["job.failed"] });
    expect((await call("DELETE", `/v1/webhooks/${id}`)).status).toBe(204);
    expect(await refusalOf(await call("GET", `/v1/webhooks/${id}`))).toEqual({
      status: 404,
      code: "webhook_not_found",
    });
  });

  it("may be of one endpoint, which must be there", async () => {
    const made = await subscribe({ endpoint: "picture" });
    expect(made.endpoint_id).toMatch(/^ep_/);
    const refused = await call("POST", "/v1/webhooks", { url: "https://hooks.example.org/in", endpoint: "nothing" });
    expect(await refusalOf(refused)).toEqual({ status: 404, code: "endpoint_not_found" });
  });

  it.each([
    ["http://hooks.example.org/in"],
    ["https://169.254.169.254/"],
    ["https://10.0.0.1/"],
    ["https://localhost.localdomain/"],
    ["https://user:pass@hooks.example.org/"],
    ["https://pilotlight.test/v1/me"],
    [undefined],
  ])("is not made for %j", async (url) => {
    const refused = await call("POST", "/v1/webhooks", url === undefined ? {} : { url });
    expect(await refusalOf(refused)).toEqual({ status: 422, code: "invalid_url", paths: ["/url"] });
    if (url === undefined) return;
    const { id } = await subscribe();
    expect(await refusalOf(await call("PATCH", `/v1/webhooks/${id}`, { url }))).toMatchObject({ code: "invalid_url" });
  });

  it("of the kind listen has no URL", async () => {
    const refused = await call("POST", "/v1/webhooks", { kind: "listen", url: "https://hooks.example.org/in" });
    expect(await refusalOf(refused)).toMatchObject({ code: "invalid_url" });
    const { id } = await jsonOf(await call("POST", "/v1/webhooks", { kind: "listen" }));
    const patched = await call("PATCH", `/v1/webhooks/${id}`, { url: "https://hooks.example.org/in" });
    expect(await refusalOf(patched)).toMatchObject({ code: "invalid_url" });
  });

  it("is made once when the same request comes twice", async () => {
    const once = { key: workspace.key, headers: { "idempotency-key": "hook-1" } };
    const json = { url: "https://hooks.example.org/once" };
    const [first, second] = [
      await jsonOf(await send("POST", "/v1/webhooks", { ...once, json })),
      await jsonOf(await send("POST", "/v1/webhooks", { ...once, json })),
    ];
    expect(second).toEqual(first);
    expect((await listed("/v1/webhooks")).filter(({ url }) => url === json.url)).toHaveLength(1);
  });

  it("is one of a hundred at most", async () => {
    const { key } = await makeWorkspace();
    const make = () => send("POST", "/v1/webhooks", { key, json: { url: "https://hooks.example.org/in" } });
    for (let count = 0; count < WEBHOOKS_PER_WORKSPACE_MAX; count += 1) expect((await make()).status).toBe(201);
    expect(await refusalOf(await make())).toEqual({ status: 409, code: "webhook_limit" });
  });
});

describe("a message", () => {
  it("is signed with the webhook's secret and with the published key, and never follows a redirect", async () => {
    const posts = outside(noContent);
    const { id, secret } = await subscribe();
    const delivered = await ended(await tryOut(id, "job.succeeded"), "delivered");
    const [posted] = posts;
    if (posted === undefined) throw new Error("nothing was sent");
    expect(posted).toMatchObject({ url: "https://hooks.example.org/in", body: delivered.body, redirect: "manual" });
    expect(posted.headers.get("content-type")).toBe("application/json");
    expect(posted.headers.get("webhook-id")).toBe(delivered.message_id);
    expect(Math.abs(Number(posted.headers.get("webhook-timestamp")) - Date.now() / 1_000)).toBeLessThan(60);
    expect(await isSigned(posted, String(secret))).toBe(true);
    expect(await isSigned({ ...posted, body: `${posted.body} ` }, String(secret))).toBe(false);

    const keys = await jsonOf(await send("GET", "/.well-known/jwks.json"));
    const [jwk] = Array.isArray(keys.keys) ? keys.keys.filter(isJsonObject) : [];
    if (jwk === undefined) throw new Error("no key is published");
    expect(jwk).toMatchObject({ kty: "OKP", crv: "Ed25519", use: "sig", alg: "EdDSA" });
    expect(await isSignedBy(posted, jwk)).toBe(true);
    const { public_key } = await answer("GET", `/v1/webhooks/${id}/secret`);
    expect(public_key).toBe(jwk.whpk);
    expect(jwk.whpk).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/);
  });

  it("is signed by both secrets while one takes the other's place", async () => {
    const posts = outside(noContent);
    const { id, secret } = await subscribe();
    const rotated = await answer("POST", `/v1/webhooks/${id}/rotate`);
    expect(rotated).toMatchObject({ previous: secret });
    const hours = (Date.parse(String(rotated.previous_expires_at)) - Date.now()) / 3_600_000;
    expect(Math.round(hours)).toBe(24);
    await ended(await tryOut(id), "delivered");
    const [posted] = posts;
    if (posted === undefined) throw new Error("nothing was sent");
    expect((posted.headers.get("webhook-signature") ?? "").match(/v1,/g)).toHaveLength(2);
    expect(await isSigned(posted, String(secret))).toBe(true);
    expect(await isSigned(posted, String(rotated.secret))).toBe(true);
    const { secrets } = await answer("GET", `/v1/webhooks/${id}`);
    expect(secrets).toMatchObject([{ expires_at: null }, { expires_at: rotated.previous_expires_at }]);
  });

  it("is signed anew at each try, under the same id", async () => {
    let tries = 0;
    const posts = outside(() => {
      tries += 1;
      return tries === 1 ? new Response("not now", { status: 500 }) : noContent();
    });
    const { id, secret } = await subscribe();
    const path = await tryOut(id);
    const failed = await eventually(async () => {
      const shown = await answer("GET", path);
      return Array.isArray(shown.tries) && shown.tries.length === 1 ? shown : null;
    });
    expect(failed).toMatchObject({ state: "pending", tries: [{ status: 500, answer: "not now" }] });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await call("POST", `${path}/redeliver`);
    await ended(path, "delivered");
    const [first, second] = posts;
    if (first === undefined || second === undefined) throw new Error("there were not two tries");
    expect(second.headers.get("webhook-id")).toBe(first.headers.get("webhook-id"));
    expect(second.body).toBe(first.body);
    expect(second.headers.get("webhook-timestamp")).not.toBe(first.headers.get("webhook-timestamp"));
    expect(second.headers.get("webhook-signature")).not.toBe(first.headers.get("webhook-signature"));
    expect(await isSigned(second, String(secret))).toBe(true);
  });

  it("has its answer kept: 4 kB of it, and no more than 64 kB read", async () => {
    let pulled = 0;
    outside(
      () =>
        new Response(
          new ReadableStream<Uint8Array>({
            pull: (controller) => {
              pulled += 1;
              controller.enqueue(new Uint8Array(16 * 1024).fill(97));
            },
          }),
        ),
    );
    const { id } = await subscribe();
    const { tries } = await ended(await tryOut(id), "delivered");
    const [one] = Array.isArray(tries) ? tries.filter(isJsonObject) : [];
    expect(one?.answer).toBe("a".repeat(4_096));
    expect(pulled).toBeLessThan(12);
  });

  it("to an address that cannot be reached says so", async () => {
    outside(() => Promise.reject(new TypeError("no route")));
    const { id } = await subscribe();
    const path = await tryOut(id);
    const shown = await eventually(async () => {
      const found = await answer("GET", path);
      return Array.isArray(found.tries) && found.tries.length === 1 ? found : null;
    });
    expect(shown).toMatchObject({
      state: "pending",
      tries: [
        { status: null, error: expect.stringMatching(/cannot be reached, or what is there does not speak HTTP\.$/) },
      ],
    });
    expect(Date.parse(String(shown.next_try_at)) - Date.now()).toBeLessThan(7_000);
  });

  it.each(["https://10.0.0.1/", "https://metadata.google.internal/", "http://example.org/"])(
    "does not go to %s, even when that stands in the tables",
    async (url) => {
      const posts = outside(noContent);
      const { workspaceId, key } = await makeWorkspace();
      const object = env.WEBHOOKS.getByName(workspaceId) as unknown as WebhooksRpc;
      const webhook = { kind: "http", url, events: ["job.failed"], endpointId: null, description: null } as const;
      const made = await object.create(workspaceId, webhook);
      if (!made.ok) throw new Error(made.code);
      const { id } = made.webhook;
      const sent = await jsonOf(await send("POST", `/v1/webhooks/${id}/test`, { key, json: {} }));
      const shown = await eventually(async () => {
        const found = await jsonOf(await send("GET", `/v1/webhooks/${id}/deliveries/${sent.id}`, { key }));
        return Array.isArray(found.tries) && found.tries.length === 1 ? found : null;
      });
      expect(shown).toMatchObject({ tries: [{ status: null, error: expect.stringContaining("may not be used") }] });
      expect(posts).toEqual([]);
    },
  );

  it("that is refused with 410 disables the webhook, until it is enabled", async () => {
    outside(() => new Response(null, { status: 410 }));
    const { id } = await subscribe();
    const path = await tryOut(id);
    await ended(path, "failed");
    expect(await answer("GET", `/v1/webhooks/${id}`)).toMatchObject({ state: "disabled" });
    for (const refused of [
      await call("POST", `/v1/webhooks/${id}/test`, {}),
      await call("POST", `${path}/redeliver`),
      await call("POST", `/v1/webhooks/${id}/recover`, { since: "2026-01-01T00:00:00Z" }),
    ]) {
      expect(await refusalOf(refused)).toEqual({ status: 409, code: "webhook_disabled" });
    }
    vi.restoreAllMocks();
    outside(noContent);
    expect(await answer("PATCH", `/v1/webhooks/${id}`, { state: "enabled" })).toMatchObject({ disabled_reason: null });
    expect(await answer("POST", `/v1/webhooks/${id}/recover`, { since: "2026-01-01T00:00:00Z" })).toEqual({
      recovered: 1,
    });
    await ended(path, "delivered");
  });
});

describe("a job", () => {
  const data = (posted: Posted) => (JSON.parse(posted.body) as { data: JsonObject }).data;
  const type = (posted: Posted) => (JSON.parse(posted.body) as { type: string }).type;

  it("tells its own URL and the subscriptions, under the same ids", async () => {
    const posts = outside(noContent);
    const { id, secret } = await subscribe({ url: "https://all.example.org/", events: ["job.queued", "job.canceled"] });
    const submitted = await jsonOf(
      await call("POST", "/v1/endpoints/picture/jobs", {
        inputs: {},
        tags: ["one"],
        webhook: { url: "https://own.example.org/done?token=1", events: ["job.canceled"] },
      }),
    );
    expect(submitted.webhook).toEqual({ url: "https://own.example.org/done?token=1", events: ["job.canceled"] });
    await call("POST", `/v1/jobs/${submitted.id}/cancel`);
    // Other tests of this file have subscriptions as well.
    const told = () =>
      posts.filter((posted) => data(posted).id === submitted.id && !posted.url.startsWith("https://hooks."));
    await eventually(async () => (told().length >= 3 ? true : null));
    const mine = told();
    expect(mine.map((posted) => [new URL(posted.url).hostname, type(posted)]).toSorted()).toEqual([
      ["all.example.org", "job.canceled"],
      ["all.example.org", "job.queued"],
      ["own.example.org", "job.canceled"],
    ]);
    const canceled = mine.filter((posted) => type(posted) === "job.canceled");
    expect(new Set(canceled.map(({ headers }) => headers.get("webhook-id"))).size).toBe(1);
    expect(canceled[0] === undefined ? null : data(canceled[0])).toMatchObject({
      id: submitted.id,
      endpoint: "picture",
      state: "canceled",
      tags: ["one"],
      outputs: [],
    });
    expect(canceled[0]?.body).not.toContain("inputs");
    const own = canceled.find((posted) => posted.url.includes("own."));
    const all = canceled.find((posted) => posted.url.includes("all."));
    if (own === undefined || all === undefined) throw new Error("one of them was not told");
    const defaults = await answer("GET", "/v1/webhooks/default/secret");
    expect(await isSigned(own, String(defaults.secret))).toBe(true);
    expect(await isSigned(all, String(secret))).toBe(true);

    const log = await eventually(async () => {
      const all = await listed(`/v1/jobs/${submitted.id}/deliveries`);
      const rows = all.filter(({ url }) => /^https:\/\/(?:all|own)\./.test(String(url)));
      return rows.length === 3 && rows.every(({ state }) => state === "delivered") ? rows : null;
    });
    expect(new Set(log.map(({ webhook_id }) => webhook_id))).toEqual(new Set([id, null]));
    const ofDefault = await listed(`/v1/webhooks/default/deliveries?job=${submitted.id}`);
    expect(ofDefault).toHaveLength(1);
    expect((await call("DELETE", `/v1/webhooks/${id}`)).status).toBe(204);
  });

  it("writes nothing that nobody wants", async () => {
    const { key, workspaceId } = await makeWorkspace();
    await makeEndpoint(key, "quiet");
    const posts = outside(noContent);
    const job = await submitJob(key, "quiet");
    await send("POST", `/v1/jobs/${job.id}/cancel`, { key });
    expect(workspaceId).toMatch(/^ws_/);
    const { data: log } = await jsonOf(await send("GET", `/v1/jobs/${job.id}/deliveries`, { key }));
    expect(log).toEqual([]);
    expect(posts).toEqual([]);
  });

  it("of which nothing was told has an empty log; one that never was has none", async () => {
    outside(noContent);
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "quiet");
    const job = await submitJob(own.key, "quiet");
    const log = (id: string) => call("GET", `/v1/jobs/${id}/deliveries`, undefined, own.key);
    expect(await jsonOf(await log(String(job.id)))).toEqual({ data: [], next_cursor: null });
    const invented = `${String(job.id).slice(0, -1)}z`;
    expect(await refusalOf(await log(invented))).toEqual({ status: 404, code: "job_not_found" });
  });
});

describe("the log", () => {
  it("goes on where a page ended, for the same question alone", async () => {
    outside(noContent);
    const { id } = await subscribe();
    for (let count = 0; count < 5; count += 1) await tryOut(id, count === 0 ? "job.failed" : "webhook.test");
    const base = `/v1/webhooks/${id}/deliveries`;
    const first = await answer("GET", `${base}?limit=2`);
    expect(first.data).toHaveLength(2);
    const rest = await answer("GET", `${base}?limit=100&cursor=${first.next_cursor}`);
    expect(rest.data).toHaveLength(3);
    expect(rest.next_cursor).toBeNull();
    expect(await listed(`${base}?event=job.failed`)).toHaveLength(1);
    const mixed = await call("GET", `${base}?state=failed&cursor=${first.next_cursor}`);
    expect(await refusalOf(mixed)).toMatchObject({ code: "invalid_cursor" });
    expect(await refusalOf(await call("GET", `${base}?cursor=abc`))).toMatchObject({ code: "invalid_cursor" });
  });
});

describe("a listening command", () => {
  it("gets signed messages, and the same secret when it comes back under its name", async () => {
    const make = () =>
      answer("POST", "/v1/webhooks", { kind: "listen", description: "laptop", events: ["job.failed"] });
    const first = await make();
    const path = `/v1/webhooks/${first.id}`;
    const waiting = answer("POST", `${path}/listen`, { wait_ms: 20_000 });
    await tryOut(first.id, "job.failed");
    const { messages } = await waiting;
    const [message] = Array.isArray(messages) ? messages.filter(isJsonObject) : [];
    if (message === undefined || !isJsonObject(message.headers ?? null)) throw new Error("no message");
    const headers = new Headers(message.headers as Record<string, string>);
    const posted: Posted = { url: "", headers, body: String(message.body), redirect: undefined };
    expect(await isSigned(posted, String(first.secret))).toBe(true);
    const report = { status: 200, ms: 3, error: null, answer: "ok" };
    const reported = await answer("POST", `${path}/deliveries/${message.delivery_id}/report`, report);
    expect(reported).toMatchObject({ state: "delivered", tries: [{ status: 200, answer: "ok" }] });
    expect(await answer("POST", `${path}/listen`, { wait_ms: 0 })).toEqual({ messages: [] });

    await call("DELETE", path);
    expect((await make()).secret).toBe(first.secret);
    const other = await answer("POST", "/v1/webhooks", { kind: "listen", description: "another" });
    expect(other.secret).not.toBe(first.secret);
  });
});

describe("a stranger", () => {
  it("finds nothing, and cannot tell it from what never was", async () => {
    outside(noContent);
    const { id } = await subscribe();
    const path = await tryOut(id);
    const delivery = path.slice(path.lastIndexOf("/") + 1);
    const unknown = await refusalOf(await call("GET", "/v1/webhooks/wh_00000000000000000000000000"));
    expect(unknown).toEqual({ status: 404, code: "webhook_not_found" });
    const base = `/v1/webhooks/${id}`;
    for (const [method, to, json] of [
      ["GET", base],
      ["PATCH", base, { state: "disabled" }],
      ["DELETE", base],
      ["GET", `${base}/secret`],
      ["POST", `${base}/rotate`],
      ["POST", `${base}/test`, {}],
      ["GET", `${base}/deliveries`],
      ["GET", `${base}/deliveries/${delivery}`],
      ["POST", `${base}/deliveries/${delivery}/redeliver`],
      ["POST", `${base}/recover`, { since: "2026-01-01T00:00:00Z" }],
      ["POST", `${base}/listen`, { wait_ms: 0 }],
      ["POST", `${base}/deliveries/${delivery}/report`, { status: 200, ms: 1, error: null, answer: null }],
    ] as const) {
      const refused = await refusalOf(await call(method, to, json, stranger.key));
      expect(refused, `${method} ${to}`).toEqual(unknown);
    }
    expect((await answer("GET", base)).state).toBe("enabled");
    const { data } = await answer("GET", "/v1/webhooks", undefined, stranger.key);
    expect(data).toEqual([]);
  });

  it("without the scope deploy may look, but not change", async () => {
    const { id } = await subscribe();
    const { key } = await answer("POST", "/v1/keys", { name: "reader", scopes: ["read"] });
    const reader = String(key);
    expect((await call("GET", `/v1/webhooks/${id}`, undefined, reader)).status).toBe(200);
    for (const [method, path, json] of [
      ["POST", "/v1/webhooks", { url: "https://hooks.example.org/in" }],
      ["GET", `/v1/webhooks/${id}/secret`],
      ["POST", `/v1/webhooks/${id}/test`, {}],
    ] as const) {
      expect(await refusalOf(await call(method, path, json, reader))).toEqual({ status: 403, code: "missing_scope" });
    }
  });
});
