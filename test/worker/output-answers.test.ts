/** Calls that are answered with an output itself: `Accept` names media, and the job has succeeded. */
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { joinNode, putOutput, readyReplica, sendLease, type TestReplica, takeLease } from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import { pushOutHeldBytes } from "#test/worker/push-out-held-bytes";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  ORIGIN,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";
import { createApp } from "#worker/app";
import type { Env } from "#worker/env";

interface File {
  readonly name: string;
  readonly type: string;
  readonly bytes: Uint8Array;
}

const PICTURE: File = { name: "image-0.png", type: "image/png", bytes: png(8, 8, 1) };
const FILES: readonly File[] = [
  { name: "note.txt", type: "text/plain", bytes: new TextEncoder().encode("a fox") },
  PICTURE,
  { name: "image-1.png", type: "image/png", bytes: png(8, 8, 2) },
  { name: "clip.webm", type: "VIDEO/WebM; codecs=vp9", bytes: png(8, 8, 3) },
  { name: "page.html", type: "text/html; charset=utf-8", bytes: png(8, 8, 4) },
  { name: "odd.bin", type: "image/png\r\nSet-Cookie: a=b", bytes: png(8, 8, 5) },
  { name: "data.json", type: "application/json", bytes: new TextEncoder().encode("{}") },
];

let workspace: TestWorkspace;
let replica: TestReplica;
beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox", { settings: { min_replicas: 1 } });
  replica = await readyReplica(await joinNode(workspace));
});

/** Runs the next job to its success with these files. */
async function runNext(files: readonly File[]): Promise<void> {
  const lease = await takeLease(replica);
  await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
  const outputs: JsonObject[] = [];
  for (const [index, { name, type, bytes }] of files.entries()) {
    const { entry } = await putOutput(replica, lease, index, bytes, "application/octet-stream");
    outputs.push({ ...entry, name, filename: name, content_type: type });
  }
  const done = await sendLease(replica, lease, "POST", "complete", { json: { outputs, phases: [] } });
  expect(done.status).toBe(200);
}

const call = (headers: Record<string, string>, slug = "fox") =>
  send("POST", `/v1/endpoints/${slug}/jobs`, { key: workspace.key, json: {}, headers });
const bytesOf = async (answer: Response) => new Uint8Array(await answer.arrayBuffer());

/** A job that has succeeded with these files. */
async function succeeded(files: readonly File[]): Promise<string> {
  const { id } = await submitJob(workspace.key, "fox");
  await runNext(files);
  return String(id);
}

describe("a call that waits and names media", () => {
  it("is answered with the bytes, safe as a download, and with where the job and the file are", async () => {
    const work = runNext(FILES);
    const answer = await call({ prefer: "wait=30", accept: "image/png" });
    await work;
    expect(answer.status).toBe(200);
    expect(await bytesOf(answer)).toEqual(PICTURE.bytes);

    const headers = Object.fromEntries(answer.headers);
    const path = headers["content-location"] ?? "";
    const id = headers["pilotlight-job"] ?? "";
    expect(path).toBe(`/v1/jobs/${id}/outputs/image-0.png`);
    expect(headers).toMatchObject({
      "content-length": String(PICTURE.bytes.byteLength),
      location: `${ORIGIN}/v1/jobs/${id}`,
      "preference-applied": "wait=30",
      vary: "accept",
      "cache-control": "no-store, no-transform",
      "request-id": expect.stringMatching(/^req_/),
    });
    for (const absent of ["accept-ranges", "idempotency-replayed", "access-control-allow-origin", "set-cookie"]) {
      expect(headers[absent]).toBeUndefined();
    }

    const download = await send("GET", path, { key: workspace.key });
    expect(await bytesOf(download)).toEqual(PICTURE.bytes);
    const said = Object.fromEntries(download.headers);
    for (const name of [
      "content-type",
      "content-disposition",
      "content-security-policy",
      "cross-origin-resource-policy",
      "x-content-type-options",
      "etag",
    ]) {
      expect(headers[name], name).toBe(said[name]);
      expect(headers[name], name).toBeTruthy();
    }
    const job = await jsonOf(await send("GET", headers.location ?? "", { key: workspace.key }));
    expect(job).toMatchObject({ id, state: "succeeded" });
  });

  it("gets the same bytes again under its Idempotency-Key", async () => {
    const headers = { prefer: "wait=30", accept: "image/*", "idempotency-key": "picture-1" };
    const work = runNext([PICTURE]);
    const first = await call(headers);
    await work;
    const again = await call(headers);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("pilotlight-job")).toBe(first.headers.get("pilotlight-job"));
    expect(await bytesOf(again)).toEqual(await bytesOf(first));
  });

  it("takes the bytes from the store once, and asks the job's object for nothing more", async () => {
    const headers = { prefer: "wait=30", accept: "image/png", "idempotency-key": "picture-2" };
    const work = runNext([PICTURE]);
    await bytesOf(await call(headers));
    await work;
    const asked: string[] = [];
    const STORE = new Proxy(env.STORE, {
      get: (store, name) => {
        asked.push(`store ${String(name)}`);
        const member: unknown = Reflect.get(store, name);
        return typeof member === "function" ? member.bind(store) : member;
      },
    });
    const ENDPOINTS = new Proxy(env.ENDPOINTS, {
      get: (target, member) =>
        member !== "getByName"
          ? Reflect.get(target, member)
          : (key: string) =>
              new Proxy(target.getByName(key), {
                get: (stub, method) => {
                  asked.push(String(method));
                  if (method !== "enqueue") throw new Error(`${String(method)} was called`);
                  return (request: Parameters<typeof stub.enqueue>[0]) => stub.enqueue(request);
                },
              }),
    });
    const answer = await sendWith({ STORE, ENDPOINTS }, headers);
    expect(await bytesOf(answer)).toEqual(PICTURE.bytes);
    // It has just been stored here.
    expect(asked).toEqual(["enqueue"]);
    pushOutHeldBytes();
    expect(await bytesOf(await sendWith({ STORE, ENDPOINTS }, headers))).toEqual(PICTURE.bytes);
    expect(asked).toEqual(["enqueue", "enqueue", "store get"]);
  });

  it.each(["image/png", "image/png, image/*;q=0.1", "video/*"])(
    "is answered with the job as JSON, 202, when it has not ended in time: %s",
    async (accept) => {
      const answer = await call({ prefer: "wait=0", accept });
      expect(answer.status).toBe(202);
      expect(answer.headers.get("content-type")).toBe("application/json");
      expect(answer.headers.get("vary")).toBe("accept");
      expect(answer.headers.get("pilotlight-job")).toBeNull();
      const { id, state } = await jsonOf(answer);
      expect(state).toBe("queued");
      await send("POST", `/v1/jobs/${String(id)}/cancel`, { key: workspace.key });
    },
  );

  it("is answered with the job as JSON, 200, when it has failed or was canceled", async () => {
    const headers = { prefer: "wait=30", accept: "image/png", "idempotency-key": "picture-3" };
    const { id } = await jsonOf(await call({ ...headers, prefer: "wait=0" }));
    await send("POST", `/v1/jobs/${String(id)}/cancel`, { key: workspace.key });
    const canceled = await call(headers);
    expect([canceled.status, (await jsonOf(canceled)).state]).toEqual([200, "canceled"]);

    const work = takeLease(replica).then(async (lease) => {
      await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
      const error = { code: "missing_node", message: "no such node" };
      const told = await sendLease(replica, lease, "POST", "fail", { json: { error, phases: [] } });
      expect(told.status).toBe(204);
    });
    const failed = await call({ ...headers, "idempotency-key": "picture-4" });
    await work;
    expect([failed.status, (await jsonOf(failed)).state]).toEqual([200, "failed"]);
  });

  it("without Prefer is answered at once", async () => {
    const headers = { accept: "image/png", "idempotency-key": "picture-5" };
    const { id } = await jsonOf(await call(headers));
    await runNext([PICTURE]);
    const again = await call(headers);
    expect(again.status).toBe(202);
    expect(await jsonOf(again)).toMatchObject({ id, state: "succeeded" });
  });
});

describe("the output that is chosen", () => {
  let job: string;
  beforeAll(async () => {
    job = await succeeded(FILES);
  });
  const get = (accept: string, headers: Record<string, string> = {}, method = "GET") =>
    send(method, `/v1/jobs/${job}`, { key: workspace.key, headers: { ...headers, accept } });

  it.each([
    ["image/png", "image-0.png", "image/png", "inline"],
    ["video/*, image/*;q=0.5", "clip.webm", "video/webm", "inline"],
    ["image/*;q=0.5, text/plain", "note.txt", "text/plain; charset=utf-8", "inline"],
    ["text/html", "page.html", "text/html", "attachment"],
    ["application/octet-stream", "odd.bin", "application/octet-stream", "attachment"],
    ["application/*", "odd.bin", "application/octet-stream", "attachment"],
  ])("for %s is %s", async (accept, name, type, disposition) => {
    const answer = await get(accept);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe(type);
    expect(answer.headers.get("content-disposition")).toMatch(new RegExp(`^${disposition}; filename="${name}"`));
    expect(answer.headers.get("content-security-policy")).toContain("sandbox");
    expect(answer.headers.get("content-location")).toBe(`/v1/jobs/${job}/outputs/${name}`);
    expect(answer.headers.get("set-cookie")).toBeNull();
    expect(await bytesOf(answer)).toEqual(FILES.find((file) => file.name === name)?.bytes);
  });

  it.each(["application/json", "*/*", "image/gif", "text/event-stream", "application/json, text/plain, */*"])(
    "for %s is none: the answer is the job",
    async (accept) => {
      const answer = await get(accept);
      expect(answer.headers.get("content-type")).toBe("application/json");
      expect(await jsonOf(answer)).toMatchObject({ id: job, state: "succeeded" });
    },
  );

  it("comes whole, whatever part or tag is named, and as headers alone for HEAD", async () => {
    const etag = (await get("image/png")).headers.get("etag") ?? "";
    for (const more of [{ range: "bytes=0-1" }, { "if-none-match": etag }, { "if-none-match": "*" }]) {
      const answer = await get("image/png", more);
      expect(answer.status).toBe(200);
      expect(await bytesOf(answer)).toEqual(PICTURE.bytes);
    }
    const head = await get("image/png", {}, "HEAD");
    expect(head.headers.get("content-length")).toBe(String(PICTURE.bytes.byteLength));
    expect(head.headers.get("content-type")).toBe("image/png");
    expect(await head.text()).toBe("");
  });

  it("is nobody else's", async () => {
    const stranger = await makeWorkspace();
    const answer = await send("GET", `/v1/jobs/${job}`, { key: stranger.key, headers: { accept: "image/png" } });
    expect(await refusalOf(answer)).toEqual({ status: 404, code: "job_not_found" });
    expect((await send("GET", `/v1/jobs/${job}`, { headers: { accept: "image/png" } })).status).toBe(401);
  });

  it("gives way to the job when its bytes are lost", async () => {
    const lost = await succeeded([PICTURE]);
    pushOutHeldBytes();
    const STORE = new Proxy(env.STORE, { get: () => () => Promise.resolve(null) });
    const answer = await ask({ STORE }, "GET", `/v1/jobs/${lost}`, { accept: "image/png" });
    expect(answer.status).toBe(200);
    expect(await jsonOf(answer)).toMatchObject({ id: lost, state: "succeeded" });
  });

  it("gives way to the job when the store does not answer, for a call that made the job as well", async () => {
    const headers = { prefer: "wait=30", accept: "image/png", "idempotency-key": "picture-6" };
    const work = runNext([PICTURE]);
    await bytesOf(await call(headers));
    await work;
    pushOutHeldBytes();
    const get = vi.fn(() => Promise.reject(new Error("get: We encountered an internal error (10001)")));
    const STORE = new Proxy(env.STORE, { get: () => get });
    const answer = await sendWith({ STORE }, headers);
    expect(get).toHaveBeenCalledOnce();
    expect(answer.status).toBe(200);
    expect(await jsonOf(answer)).toMatchObject({ state: "succeeded", outputs: [{ name: "image-0.png" }] });
  });
});

/** Calls the app with some of its bindings replaced. */
async function ask(
  bindings: Partial<Env>,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: string,
): Promise<Response> {
  const request = new Request(`${ORIGIN}${path}`, {
    method,
    headers: { authorization: `Bearer ${workspace.key}`, ...headers },
    ...(body === undefined ? {} : { body }),
  });
  return createApp().fetch(request, { ...env, ...bindings });
}

/** The submit of these tests, sent with bindings replaced. */
function sendWith(bindings: Partial<Env>, headers: Record<string, string>): Promise<Response> {
  return ask(bindings, "POST", "/v1/endpoints/fox/jobs", { "content-type": "application/json", ...headers }, "{}");
}
