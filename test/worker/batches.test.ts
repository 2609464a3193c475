import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { BatchId, makeId, ownerKey } from "#contract/ids";
import { joinNode, readyReplica, succeed, takeLease } from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  ORIGIN,
  refusalOf,
  scaleGraph,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox");
  await makeEndpoint(workspace.key, "scale", { workflow: scaleGraph() });
});

const submit = (slug: string, json: unknown, headers: Record<string, string> = {}, key = workspace.key) =>
  send("POST", `/v1/endpoints/${slug}/batches`, { key, json, headers });
const get = (path: string, key = workspace.key) => send("GET", path, { key });

async function submitted(slug: string, json: unknown): Promise<JsonObject> {
  const answer = await submit(slug, json);
  const body = await jsonOf(answer);
  expect(answer.status, JSON.stringify(body)).toBe(202);
  return body;
}

async function resultsOf(id: unknown, key = workspace.key): Promise<JsonObject[]> {
  const answer = await get(`/v1/batches/${String(id)}/results`, key);
  expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
  const lines = (await answer.text()).split("\n");
  expect(lines.pop()).toBe("");
  return lines.map((line) => parseExactJson(line, { depthMax: 128 })).filter(isJsonObject);
}
const inputsOf = (results: readonly JsonObject[]) =>
  results.map(({ inputs }) => (isJsonObject(inputs) ? { ...inputs } : {}));

describe("a batch of a list", () => {
  it("is one job for each item, in their order, with every digit and a seed each", async () => {
    const answer = await submit("fox", {
      inputs: [{ prompt: "a", seed: 18446744073709551615n }, { prompt: "b" }, { prompt: "c" }],
      tags: ["night"],
      priority: 3,
      timeout: 7,
    });
    expect(answer.status).toBe(202);
    const batch = await jsonOf(answer);
    const self = `${ORIGIN}/v1/batches/${String(batch.id)}`;
    expect(answer.headers.get("location")).toBe(self);
    expect(batch).toMatchObject({
      endpoint: "fox",
      state: "running",
      total: 3,
      counts: { queued: 3, running: 0, succeeded: 0, failed: 0, canceled: 0, expired: 0 },
      progress: 0,
      finished_at: null,
      urls: { self, results: `${self}/results`, cancel: `${self}/cancel` },
    });
    const results = await resultsOf(batch.id);
    expect(results.map(({ index, state }) => [index, state])).toEqual([
      [0, "queued"],
      [1, "queued"],
      [2, "queued"],
    ]);
    const inputs = inputsOf(results);
    expect(inputs.map(({ prompt }) => prompt)).toEqual(["a", "b", "c"]);
    expect(inputs[0]?.seed).toBe(18446744073709551615n);
    expect(inputs[1]?.seed).not.toEqual(inputs[2]?.seed);

    const job = await jsonOf(await get(`/v1/jobs/${String(results[1]?.job_id)}`));
    expect(job).toMatchObject({ batch_id: batch.id, lane: "batch", priority: 3, tags: ["night"] });
    const listed = await jsonOf(await get(`/v1/jobs?batch=${String(batch.id)}`));
    expect(Array.isArray(listed.data) && listed.data.length).toBe(3);
  });

  it("names every wrong value by its place, at most twenty", async () => {
    const wrong = await submit("fox", {
      inputs: [{ prompt: "a" }, { width: "wide" }, { prompt: 5, hue: 1 }],
    });
    expect(await refusalOf(wrong)).toEqual({
      status: 422,
      code: "invalid_inputs",
      paths: ["/inputs/1/width", "/inputs/2/hue", "/inputs/2/prompt"],
    });
    const many = await refusalOf(
      await submit("fox", { inputs: Array.from({ length: 1_000 }, () => ({ width: "x" })) }),
    );
    expect(many.paths).toHaveLength(20);
    expect(many.paths?.at(-1)).toBe("/inputs/19/width");
  });

  it.each([
    '{"width": "1"}',
    '{"steps": 1.5, "prompt": {"$gt": ""}}',
    '{"prompt": "a\\u0000b"}',
    `{"prompt": "${"x".repeat(200_000)}"}`,
    '{"seed": 18446744073709551616}',
    '{"seed": -1}',
    '{"__proto__": 1, "constructor": 2}',
    '{"a/b~c": 1}',
  ])("refuses %.80s in the words of a single job", async (inputs) => {
    const errorsOf = async (path: string, body: string) => {
      const answer = await send("POST", `/v1/endpoints/fox/${path}`, {
        key: workspace.key,
        body,
        headers: { "content-type": "application/json" },
      });
      const { status, code, errors } = await jsonOf(answer);
      expect(status).toBe(422);
      return { code, errors };
    };
    const single = await errorsOf("jobs", `{"inputs": ${inputs}}`);
    const ofBatch = await errorsOf("batches", `{"inputs": [${inputs}]}`);
    const moved = stringifyExactJson(single).replaceAll('"/inputs/', '"/inputs/0/');
    expect(stringifyExactJson(ofBatch)).toBe(moved);
  });

  it("is taken whole or not at all", async () => {
    await makeEndpoint(workspace.key, "tight", { settings: { queue_depth_max: 5 } });
    await submitted("tight", { inputs: [{}, {}, {}] });
    const full = await submit("tight", { inputs: [{}, {}, {}] });
    expect(full.headers.get("retry-after")).toMatch(/^[1-9][0-9]*$/);
    expect(await refusalOf(full)).toEqual({ status: 429, code: "queue_full" });
    await submitted("tight", { inputs: [{}, {}] });
  });
});

describe("a batch of a sweep", () => {
  it("is one job for every combination, the last name fastest", async () => {
    const batch = await submitted("fox", {
      inputs: { steps: 5 },
      sweep: { seed: [18446744073709551615n, 7], prompt: ["a", "b"] },
    });
    const inputs = inputsOf(await resultsOf(batch.id));
    expect(inputs.map(({ seed, prompt, steps }) => [seed, prompt, steps])).toEqual([
      [18446744073709551615n, "a", 5],
      [18446744073709551615n, "b", 5],
      [7, "a", 5],
      [7, "b", 5],
    ]);
  });

  it("names a wrong value once, by its place in the sweep", async () => {
    const answer = await submit("fox", { inputs: { steps: "x" }, sweep: { seed: [1, "2", 3], prompt: ["a", "b"] } });
    expect(await refusalOf(answer)).toEqual({
      status: 422,
      code: "invalid_inputs",
      paths: ["/inputs/steps", "/sweep/seed/1"],
    });
  });

  it.each([
    [{}, "/inputs"],
    [{ inputs: { prompt: "a" } }, "/inputs"],
    [{ inputs: [{}], sweep: { seed: [1] } }, "/inputs"],
    [{ sweep: {} }, "/sweep"],
    [{ inputs: { seed: 1 }, sweep: { seed: [1] } }, "/sweep/seed"],
    [{ sweep: { seed: Array.from({ length: 501 }, (_, seed) => seed), prompt: ["a", "b"] } }, "/sweep"],
  ])("is refused as %j", async (json, path) => {
    expect(await refusalOf(await submit("fox", json))).toEqual({ status: 422, code: "invalid_batch", paths: [path] });
  });

  it("is refused when its jobs would not fit into memory, though the request does", async () => {
    const prompt = "x".repeat(90_000);
    const answer = await submit("fox", {
      inputs: { prompt, negative_prompt: prompt },
      sweep: { seed: Array.from({ length: 1_000 }, (_, seed) => seed) },
    });
    expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_batch", paths: [""] });
  });
});

describe("a batch with fields that mean nothing", () => {
  it.each([
    [{ inputs: [] }, "/inputs"],
    [{ inputs: "all" }, "/inputs"],
    [{ inputs: Array.from({ length: 1_001 }, () => ({})) }, "/inputs"],
    [{ inputs: [1] }, "/inputs/0"],
    [{ inputs: [{}, 1, {}, null, "text"] }, "/inputs/1"],
    [{ sweep: { seed: [] } }, "/sweep/seed"],
    [{ sweep: { seed: 1 } }, "/sweep/seed"],
    [{ inputs: [{}], lane: "fast" }, "/lane"],
    [{ inputs: [{}], priority: 1.5 }, "/priority"],
    [{ inputs: [{}], tags: [""] }, "/tags/0"],
    [{ inputs: [{}], webhook: "https://example.com" }, "/webhook"],
    [{ inputs: [{}], webhook: { url: "https://example.com", events: [] } }, "/webhook/events"],
    [{ inputs: [{}], count: 5 }, "/count"],
  ])("is refused: %j", async (json, path) => {
    const refusal = await refusalOf(await submit("fox", json));
    expect(refusal).toMatchObject({ status: 422, code: "invalid_body" });
    expect(refusal.paths).toContain(path);
  });

  it("is refused when its webhook may not be posted to", async () => {
    for (const [url, at] of [
      ["http://example.com/", "batches"],
      ["https://10.0.0.1/", "batches"],
      ["ftp://example.com/", "jobs"],
      ["https://user@example.com/", "jobs"],
    ] as const) {
      const json = { webhook: { url }, ...(at === "batches" ? { inputs: [{}] } : {}) };
      const answer = await send("POST", `/v1/endpoints/fox/${at}`, { key: workspace.key, json });
      expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_url", paths: ["/webhook/url"] });
    }
  });

  it("is refused when it is too large or no JSON", async () => {
    const large = await send("POST", "/v1/endpoints/fox/batches", {
      key: workspace.key,
      body: `{"inputs":[{"prompt":"${"x".repeat(4 * 1024 * 1024)}"}]}`,
      headers: { "content-type": "application/json" },
    });
    expect(await refusalOf(large)).toEqual({ status: 413, code: "body_too_large" });
    const deep = await send("POST", "/v1/endpoints/fox/batches", {
      key: workspace.key,
      body: `{"inputs":${"[".repeat(5_000)}`,
      headers: { "content-type": "application/json" },
    });
    expect(await refusalOf(deep)).toEqual({ status: 400, code: "malformed_json" });
  });
});

describe("files of a batch", () => {
  const uri = (seed: number) => `data:image/png;base64,${btoa(String.fromCharCode(...png(16, 16, seed)))}`;
  const filesStored = async () => {
    const row = await env.CATALOG.prepare("SELECT COUNT(*) AS files FROM files WHERE workspace_id = ?")
      .bind(workspace.workspaceId)
      .first<{ files: number }>();
    return Number(row?.files);
  };

  it("are stored once, however many jobs name them", async () => {
    const before = await filesStored();
    const picture = uri(1);
    const batch = await submitted("scale", {
      inputs: [...Array.from({ length: 20 }, () => ({ image: picture })), { image: uri(2) }],
    });
    expect(await filesStored()).toBe(before + 2);
    const inputs = inputsOf(await resultsOf(batch.id));
    expect(new Set(inputs.map(({ image }) => image)).size).toBe(2);
    expect(inputs[0]?.image).toMatch(/^file_/);
    const swept = await submitted("scale", { inputs: { image: String(inputs[0]?.image) }, sweep: { width: [8, 16] } });
    expect(inputsOf(await resultsOf(swept.id)).map(({ image }) => image)).toEqual([inputs[0]?.image, inputs[0]?.image]);
  });

  it("may be large and shared by a thousand jobs", async () => {
    const before = await filesStored();
    const image = `data:image/png;base64,${btoa(String.fromCharCode(...png(16, 16, 3)) + "\0".repeat(500_000))}`;
    const seeds = Array.from({ length: 1_000 }, (_, index) => index + 1);
    const batch = await submitted("scale", { inputs: { image }, sweep: { width: seeds } });
    expect(await filesStored()).toBe(before + 1);
    const [first, second] = inputsOf(await resultsOf(batch.id));
    expect([first?.width, second?.width, second?.image]).toEqual([1, 2, first?.image]);
    const broken = await submit("scale", { inputs: { image: `${image}!` }, sweep: { width: seeds } });
    expect(await refusalOf(broken)).toEqual({ status: 422, code: "invalid_inputs", paths: ["/inputs/image"] });
  }, 30_000);

  it("that are wrong are named by their place", async () => {
    const missing = "file_0dpx4n3m8k7q2wz6tgr1vyc5ha";
    const answer = await submit("scale", { inputs: [{ image: uri(1) }, { image: missing }, { image: missing }] });
    expect(await refusalOf(answer)).toEqual({
      status: 404,
      code: "file_not_found",
      paths: ["/inputs/1/image", "/inputs/2/image"],
    });
    const mixed = await submit("scale", { sweep: { image: [missing, "data:image/png;base64,AAAA"] } });
    expect(await refusalOf(mixed)).toEqual({
      status: 422,
      code: "invalid_inputs",
      paths: ["/sweep/image/0", "/sweep/image/1"],
    });
  });

  it("may not be brought by the hundred", async () => {
    const answer = await submit("scale", {
      inputs: Array.from({ length: 65 }, (_, index) => ({ image: `https://files.pilotlight-test.com/${index}.png` })),
    });
    expect(await refusalOf(answer)).toMatchObject({ status: 422, code: "invalid_batch" });
  });
});

describe("an Idempotency-Key of a batch", () => {
  it("gives the same batch to the same request, and 422 to another", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const headers = { "idempotency-key": "batch-1" };
    const json = { inputs: [{ negative_prompt: "x" }, {}] };
    const first = await submit("fox", json, headers, own.key);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = await submit("fox", json, headers, own.key);
    expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([202, "true"]);
    const batch = await jsonOf(first);
    expect((await jsonOf(again)).id).toBe(batch.id);
    const other = await submit("fox", { inputs: [{}] }, headers, own.key);
    expect(await refusalOf(other)).toEqual({ status: 422, code: "idempotency_key_reused" });
    // The same key in another call is another key.
    expect(await submitJob(own.key, "fox", {}, headers)).toMatchObject({ state: "queued" });

    const overrides = { inputs: { negative_prompt: { hidden: true } } };
    expect((await send("PATCH", "/v1/endpoints/fox", { key: own.key, json: { overrides } })).status).toBe(200);
    const late = await submit("fox", json, headers, own.key);
    expect(late.headers.get("idempotency-replayed")).toBe("true");
    expect((await jsonOf(late)).id).toBe(batch.id);
  });

  it("is one batch however many come at once", async () => {
    const headers = { "idempotency-key": "burst-of-batches" };
    const answers = await Promise.all(Array.from({ length: 10 }, () => submit("fox", { inputs: [{}, {}] }, headers)));
    const ids = await Promise.all(answers.map(async (answer) => (await jsonOf(answer)).id));
    expect(new Set(ids).size).toBe(1);
  });
});

describe("a batch's life", () => {
  it("ends when its last job has ended, with results and links", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const batch = await jsonOf(await submit("fox", { inputs: [{ prompt: "a" }, { prompt: "b" }] }, {}, own.key));
    const path = `/v1/batches/${String(batch.id)}`;
    const replica = await readyReplica(await joinNode(own));
    await succeed(replica, await takeLease(replica), png(8, 8));
    expect(await jsonOf(await get(path, own.key))).toMatchObject({
      state: "running",
      counts: { succeeded: 1 },
      progress: 0.5,
    });
    const canceled = await jsonOf(await send("POST", `${path}/cancel`, { key: own.key }));
    expect(canceled).toMatchObject({ state: "done", counts: { succeeded: 1, canceled: 1 }, progress: 1 });
    expect(canceled.finished_at).toBeTypeOf("string");
    const [first, second] = await resultsOf(batch.id, own.key);
    expect(first).toMatchObject({ index: 0, state: "succeeded", outputs: [{ name: "image-0.png" }], error: null });
    expect(second).toMatchObject({ index: 1, state: "canceled", outputs: [] });
    const [output] = Array.isArray(first?.outputs) ? first.outputs : [];
    expect((await send("GET", String(isJsonObject(output) ? output.url : ""))).status).toBe(200);
  });

  it("of a thousand jobs has a thousand results, in order, and a reader may leave", async () => {
    const inputs = Array.from({ length: 1_000 }, (_, seed) => ({ seed, prompt: "x".repeat(3_000) }));
    const batch = await submitted("fox", { inputs });
    const results = await resultsOf(batch.id);
    expect(results.map(({ index }) => index)).toEqual(inputs.map((_, index) => index));
    expect(inputsOf(results).map(({ seed }) => seed)).toEqual(inputs.map(({ seed }) => seed));
    const answer = await get(`/v1/batches/${String(batch.id)}/results`);
    const reader = answer.body?.getReader();
    expect((await reader?.read())?.value?.byteLength).toBeGreaterThan(0);
    await reader?.cancel();
    expect((await get(`/v1/batches/${String(batch.id)}`)).status).toBe(200);
  }, 30_000);

  it("is nobody else's", async () => {
    const batch = await submitted("fox", { inputs: [{}] });
    const key = ownerKey(BatchId.parse(batch.id));
    await makeEndpoint(stranger.key, "own");
    const ids = [
      String(batch.id),
      makeId(BatchId, "batch", Date.now(), randomBytes),
      makeId(BatchId, "batch", Date.now(), randomBytes, key),
    ];
    for (const [method, suffix] of [
      ["GET", ""],
      ["GET", "/results"],
      ["POST", "/cancel"],
    ] as const) {
      const bodies: JsonObject[] = [];
      for (const [index, id] of ids.entries()) {
        // The last one is unknown to its owner as well.
        const asker = index === 2 ? workspace : stranger;
        const answer = await send(method, `/v1/batches/${id}${suffix}`, { key: asker.key });
        expect(answer.status).toBe(404);
        const { request_id, ...body } = await jsonOf(answer);
        expect(request_id).toMatch(/^req_/);
        bodies.push(body);
      }
      expect(bodies[1]).toEqual(bodies[0]);
      expect(bodies[2]).toEqual(bodies[0]);
    }
    const listed = await jsonOf(await get(`/v1/jobs?batch=${String(batch.id)}`, stranger.key));
    expect(listed).toEqual({ data: [], next_cursor: null });
    expect(await refusalOf(await get("/v1/batches/batch_1"))).toMatchObject({ status: 404, code: "batch_not_found" });
    expect(await refusalOf(await submit("fox", { inputs: [{}] }, {}, stranger.key))).toMatchObject({ status: 404 });
  });
});
