import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import { servedType } from "#durable-objects/outputs/served-type";
import { joinNode, putOutput, readyReplica, sendLease, takeLease } from "#test/worker/agent-node";
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
import { isProblem } from "#worker/http/is-problem";
import { contentDisposition } from "#worker/outputs/content-disposition";
import { downloadAnswer } from "#worker/outputs/download";
import { chooseRange } from "#worker/outputs/range";

const bytes = crypto.getRandomValues(new Uint8Array(1_000));
let workspace: TestWorkspace;
let job: JsonObject;
let path: string;
let link: URL;

/** An output of the job as the API shows it. */
function outputNamed(name: string): JsonObject {
  const outputs = Array.isArray(job.outputs) ? job.outputs.filter(isJsonObject) : [];
  const found = outputs.find((output) => output.name === name);
  if (found === undefined) throw new Error(`no output ${name}`);
  return found;
}

beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox");
  const { id } = await submitJob(workspace.key, "fox");
  const replica = await readyReplica(await joinNode(workspace));
  const lease = await takeLease(replica);
  const entries: JsonObject[] = [];
  for (const [index, [name, filename, type]] of [
    ["image.png", 'Grüße "日本"\r\nX: y\\.png', "image/png"],
    ["page.html", "page.html", "text/html; charset=utf-8"],
    ["vector.svg", "vector.svg", "image/svg+xml"],
    ["note.txt", "note.txt", "text/plain"],
    ["odd.bin", "odd.bin", "x/y\r\nSet-Cookie: a=b"],
  ].entries()) {
    const { answer, entry } = await putOutput(replica, lease, index, bytes, "application/octet-stream");
    expect(answer.status).toBe(204);
    entries.push({ ...entry, name, filename, content_type: type } as JsonObject);
  }
  const done = await sendLease(replica, lease, "POST", "complete", { json: { outputs: entries, phases: [] } });
  expect(done.status).toBe(200);
  job = await jsonOf(await send("GET", `/v1/jobs/${String(id)}`, { key: workspace.key }));
  path = `/v1/jobs/${String(id)}/outputs/image.png`;
  link = new URL(String(outputNamed("image.png").url));
});

const get = (headers: Record<string, string> = {}, method = "GET") =>
  send(method, path, { key: workspace.key, headers });

describe("downloading an output", () => {
  it("gives its bytes, its hash as tag, and nothing a browser could run", async () => {
    const answer = await get();
    expect(answer.status).toBe(200);
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(bytes);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "image/png",
      "content-length": "1000",
      etag: `"${String(outputNamed("image.png").sha256)}"`,
      "accept-ranges": "bytes",
      "x-content-type-options": "nosniff",
      "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "private, max-age=3600, no-transform",
    });
    expect(answer.headers.get("set-cookie")).toBeNull();
  });

  it.each([
    ["image.png", "image/png", "inline"],
    ["page.html", "text/html", "attachment"],
    ["vector.svg", "image/svg+xml", "attachment"],
    ["note.txt", "text/plain; charset=utf-8", "inline"],
    ["odd.bin", "application/octet-stream", "attachment"],
  ])("%s is served as %s, %s", async (name, type, kind) => {
    const answer = await send("GET", `/v1/jobs/${String(job.id)}/outputs/${name}`, { key: workspace.key });
    expect(answer.headers.get("content-type")).toBe(type);
    expect(answer.headers.get("content-disposition")).toMatch(new RegExp(`^${kind}; filename="`));
    expect(answer.headers.get("set-cookie")).toBeNull();
    await answer.body?.cancel();
  });

  it.each([
    ["bytes=0-9", 0, 10],
    ["bytes=990-", 990, 1_000],
    ["bytes=-10", 990, 1_000],
    ["bytes=-5000", 0, 1_000],
    ["bytes=5-5", 5, 6],
    ["bytes=990-99999", 990, 1_000],
  ])("gives the part %s", async (range, from, to) => {
    const answer = await get({ range });
    expect(answer.status).toBe(206);
    expect(answer.headers.get("content-range")).toBe(`bytes ${from}-${to - 1}/1000`);
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(bytes.subarray(from, to));
  });

  it.each(["bytes=1000-", "bytes=5000-6000", "bytes=-0"])("refuses the part %s", async (range) => {
    const answer = await get({ range });
    expect(answer.headers.get("content-range")).toBe("bytes */1000");
    expect(await refusalOf(answer)).toEqual({ status: 416, code: "range_not_satisfiable" });
  });

  it.each(["bytes=0-1,5-6", "lines=0-1", "bytes=9-1", "bytes=a-b", "bytes=-", "0-9"])(
    "gives the whole for %s",
    async (range) => {
      const answer = await get({ range });
      expect(answer.status).toBe(200);
      expect((await answer.arrayBuffer()).byteLength).toBe(1_000);
    },
  );

  it("says when nothing changed, and when a part would not fit", async () => {
    const etag = `"${String(outputNamed("image.png").sha256)}"`;
    for (const value of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const answer = await get({ "if-none-match": value });
      expect(answer.status).toBe(304);
      expect(answer.headers.get("etag")).toBe(etag);
      expect(await answer.text()).toBe("");
    }
    expect((await get({ "if-none-match": '"other"' })).status).toBe(200);
    expect((await get({ range: "bytes=0-9", "if-range": etag })).status).toBe(206);
    expect((await get({ range: "bytes=0-9", "if-range": '"other"' })).status).toBe(200);
    expect((await get({ range: "bytes=0-9", "if-range": new Date().toUTCString() })).status).toBe(200);
  });

  it("answers HEAD with the size alone", async () => {
    const answer = await get({}, "HEAD");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-length")).toBe("1000");
    expect(await answer.text()).toBe("");
  });

  it.each(["bytes=0-9", "bytes=5000-"])("answers HEAD with %s as without", async (range) => {
    const answer = await get({ range }, "HEAD");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-length")).toBe("1000");
    expect(answer.headers.get("content-range")).toBeNull();
  });

  it("refuses names the job does not have", async () => {
    for (const name of ["other.png", "..", "image.png.", "0"]) {
      const answer = await send("GET", `/v1/jobs/${String(job.id)}/outputs/${name}`, { key: workspace.key });
      expect(answer.status).toBe(404);
    }
  });

  it("needs a key or a link", async () => {
    expect((await send("GET", path)).status).toBe(401);
    expect((await send("DELETE", path, { key: workspace.key })).status).toBe(405);
  });
});

describe("a signed link", () => {
  const open = (url: URL, method = "GET") => send(method, String(url));
  const altered = (change: (url: URL) => void) => {
    const url = new URL(link);
    change(url);
    return url;
  };

  it("opens its output without a key, for any page", async () => {
    expect(link.origin).toBe(ORIGIN);
    for (const method of ["GET", "HEAD"]) {
      const answer = await open(link, method);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(answer.headers.get("cross-origin-resource-policy")).toBe("cross-origin");
      await answer.body?.cancel();
    }
    const part = await send("GET", String(link), { headers: { range: "bytes=0-1" } });
    expect(part.status).toBe(206);
    const beyond = await send("GET", String(link), { headers: { range: "bytes=5000-" } });
    expect(beyond.status).toBe(416);
    expect(beyond.headers.get("access-control-allow-origin")).toBe("*");
    expect((await get()).headers.get("access-control-allow-origin")).toBeNull();
  });

  it.each<[string, (url: URL) => void]>([
    ["a later expiry", (url) => url.searchParams.set("expires", "99999999999")],
    ["an earlier expiry", (url) => url.searchParams.set("expires", "1")],
    ["no expiry", (url) => url.searchParams.delete("expires")],
    ["no signature", (url) => url.searchParams.delete("signature")],
    ["an empty signature", (url) => url.searchParams.set("signature", "")],
    [
      "a signature cut short",
      (url) => url.searchParams.set("signature", (url.searchParams.get("signature") ?? "").slice(0, -1)),
    ],
    ["a second expiry", (url) => url.searchParams.append("expires", url.searchParams.get("expires") ?? "")],
    ["a parameter more", (url) => url.searchParams.append("download", "1")],
    ["another output", (url) => (url.pathname = url.pathname.replace("image.png", "page.html"))],
    ["another job", (url) => (url.pathname = url.pathname.replace(/job_.{26}/, "job_0dpx4n3m8k7q2wz6tgr1vyc5ha"))],
    ["no job at all", (url) => (url.pathname = url.pathname.replace(/job_.{26}/, "x"))],
  ])("with %s opens nothing", async (_name, change) => {
    const answer = await open(altered(change));
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect(await refusalOf(answer)).toEqual({ status: 403, code: "invalid_signature" });
  });

  it("of one workspace is worth nothing for another's job", async () => {
    const stranger = await makeWorkspace();
    await makeEndpoint(stranger.key, "fox");
    const foreign = await submitJob(stranger.key, "fox");
    const url = altered((one) => (one.pathname = `/v1/jobs/${String(foreign.id)}/outputs/image.png`));
    expect((await open(url)).status).toBe(403);
  });

  it("opens no other route and no other method", async () => {
    expect((await open(link, "POST")).status).toBe(405);
    expect((await send("GET", `/v1/jobs/${String(job.id)}${link.search}`)).status).toBe(401);
  });

  it("is judged before a key that comes along", async () => {
    const broken = altered((url) => url.searchParams.set("signature", "x"));
    expect((await send("GET", String(broken), { key: workspace.key })).status).toBe(403);
  });
});

describe("an output whose retention is over", () => {
  it("is told apart from one that never was", async () => {
    const key = "out/d7/x";
    const output = { ...(outputNamed("image.png") as unknown as StoredOutput), index: 0, key };
    const gone = downloadAnswer(env, new Request(ORIGIN), "req_x", output, true);
    await expect(gone).rejects.toSatisfy((error) => isProblem(error, "output_expired"));
  });
});

describe("an output whose bytes were lost", () => {
  it("is told as our fault, not as an empty file", async () => {
    const key = (await env.STORE.list({ prefix: "out/" })).objects.find((object) => object.key.endsWith("/3"))?.key;
    await env.STORE.delete(key ?? "");
    pushOutHeldBytes();
    const answer = await send("GET", `/v1/jobs/${String(job.id)}/outputs/note.txt`, { key: workspace.key });
    expect(await refusalOf(answer)).toEqual({ status: 503, code: "unavailable" });
  });
});

describe("names in headers", () => {
  it.each([
    ["a.png", `inline; filename="a.png"; filename*=UTF-8''a.png`],
    ['q"u\\o.png', `inline; filename="q_u_o.png"; filename*=UTF-8''q%22u%5Co.png`],
    ["a\r\nb\u0000.png", `inline; filename="ab.png"; filename*=UTF-8''ab.png`],
    ["ü (1)'*.png", `inline; filename="_ (1)'*.png"; filename*=UTF-8''%C3%BC%20%281%29%27%2A.png`],
    ["\ud800.png", `inline; filename="_.png"; filename*=UTF-8''%EF%BF%BD.png`],
    ["50%.png", `inline; filename="50_.png"; filename*=UTF-8''50%25.png`],
  ])("%j", (name, header) => {
    expect(contentDisposition("image/png", name)).toBe(header);
    expect(new Headers({ "content-disposition": header }).get("content-disposition")).toBe(header);
  });

  it.each([
    ["image/png", "image/png"],
    ["IMAGE/PNG; a=b", "image/png"],
    ["text/plain", "text/plain; charset=utf-8"],
    ["nonsense", "application/octet-stream"],
    ["a/b\nc", "application/octet-stream"],
    ["", "application/octet-stream"],
  ])("type %j is served as %s", (type, served) => {
    expect(servedType(type)).toBe(served);
  });
});

describe("ranges", () => {
  it("of an empty file are never a part", () => {
    expect(chooseRange("bytes=0-", 0)).toEqual({ type: "outside" });
    expect(chooseRange(null, 0)).toEqual({ type: "whole" });
  });
});
