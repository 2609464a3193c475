import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { EndpointId, JobId, ownerKey } from "#contract/ids";
import { WATCHERS_PER_JOB_MAX } from "#contract/limits";
import { joinNode, readyReplica, sendLease, succeed, type TestReplica, takeLease } from "#test/worker/agent-node";
import { eventsOf, type TestEvent } from "#test/worker/event-reader";
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
  textGraph,
} from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox");
});

const submit = (slug: string, body: string, headers: Record<string, string> = {}) =>
  send("POST", `/v1/endpoints/${slug}/jobs`, {
    key: workspace.key,
    body,
    headers: { "content-type": "application/json", ...headers },
  });
const getJob = (id: unknown, key = workspace.key) => send("GET", `/v1/jobs/${String(id)}`, { key });

/** Runs the next job of a workspace that has one endpoint at work. */
async function runNext(replica: TestReplica): Promise<void> {
  await succeed(replica, await takeLease(replica), png(8, 8));
}

describe("submitting a job", () => {
  it("answers 202 with the job and where it is", async () => {
    const answer = await submit(
      "fox",
      '{"inputs": {"prompt": "a"}, "lane": "batch", "priority": 7, "tags": ["x"], "expires_in": 60, "timeout": 5}',
    );
    expect(answer.status).toBe(202);
    const job = await jsonOf(answer);
    expect(job).toMatchObject({
      state: "queued",
      lane: "batch",
      priority: 7,
      tags: ["x"],
      urls: { self: `${ORIGIN}/v1/jobs/${String(job.id)}` },
    });
    expect(answer.headers.get("location")).toBe(`${ORIGIN}/v1/jobs/${String(job.id)}`);
    expect(ownerKey(JobId.parse(job.id))).toBe(ownerKey(EndpointId.parse(job.endpoint_id)));
  });

  it("shows the job as everything else shows it", async () => {
    await makeEndpoint(workspace.key, "shown");
    const said = { inputs: { prompt: '"ü" \\ \u2028\n{"id":"x' }, tags: ['t"', "\u{1f98a}"], timeout: 5 };
    const text = await (await submit("shown", JSON.stringify(said))).text();
    const { id } = JSON.parse(text) as { id: string };
    expect(text).toBe(await (await getJob(id)).text());
    const waited = await submit("shown", JSON.stringify(said), { prefer: "wait=0" });
    expect(Object.keys(await jsonOf(waited))).toEqual(Object.keys(JSON.parse(text)));
  });

  it.each(["18446744073709551615", "9007199254740993"])("keeps the seed %s to the last digit", async (seed) => {
    const answer = await submit("fox", `{"inputs": {"seed": ${seed}}}`);
    const text = await answer.text();
    expect(text).toContain(`"seed":${seed}`);
    const { id } = JSON.parse(text) as { id: string };
    expect(await (await getJob(id)).text()).toContain(`"seed":${seed}`);
  });

  it("works when the object did not hear of its endpoint", async () => {
    await makeEndpoint(workspace.key, "late");
    const row = await env.CATALOG.prepare("SELECT key FROM endpoints WHERE slug = 'late' AND workspace_id = ?")
      .bind(workspace.workspaceId)
      .first<{ key: string }>();
    await env.ENDPOINTS.getByName(String(row?.key)).remove(workspace.workspaceId);
    expect(await submitJob(workspace.key, "late")).toMatchObject({ state: "queued" });
  });

  it("is refused with 429 when the queue is full", async () => {
    await makeEndpoint(workspace.key, "small", { settings: { queue_depth_max: 1 } });
    await submitJob(workspace.key, "small");
    const answer = await submit("small", "{}");
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9][0-9]*$/);
    expect(await refusalOf(answer)).toEqual({ status: 429, code: "queue_full" });
  });
});

describe("an Idempotency-Key", () => {
  it("makes the same request give the same job, and another one 422", async () => {
    const headers = { "idempotency-key": "order-1" };
    const first = await submit("fox", '{"inputs": {"prompt": "b"}}', headers);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = await submit("fox", '{"inputs": {"prompt": "b"}}', { "idempotency-key": '"order-1"' });
    expect(again.status).toBe(202);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect((await jsonOf(again)).id).toBe((await jsonOf(first)).id);
    const other = await submit("fox", '{"inputs": {"prompt": "c"}}', headers);
    expect(await refusalOf(other)).toEqual({ status: 422, code: "idempotency_key_reused" });
  });

  it("is one job however many come at once", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => submit("fox", "{}", { "idempotency-key": "burst" })),
    );
    const ids = await Promise.all(answers.map(async (answer) => (await jsonOf(answer)).id));
    expect(new Set(ids).size).toBe(1);
  });

  it("is not used up by a request that was refused", async () => {
    const headers = { "idempotency-key": "second-try" };
    expect((await submit("fox", '{"inputs": {"steps": "x"}}', headers)).status).toBe(422);
    expect((await submit("fox", '{"inputs": {"steps": 5}}', headers)).status).toBe(202);
  });

  it("gives the first job though the release of now takes other inputs", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const again = (inputs: JsonObject) =>
      send("POST", "/v1/endpoints/fox/jobs", {
        key: own.key,
        json: { inputs },
        headers: { "idempotency-key": "first-answer" },
      });
    const first = await jsonOf(await again({ negative_prompt: "x" }));
    const overrides = { inputs: { negative_prompt: { hidden: true } } };
    expect((await send("PATCH", "/v1/endpoints/fox", { key: own.key, json: { overrides } })).status).toBe(200);
    const replay = await again({ negative_prompt: "x" });
    expect(replay.status).toBe(202);
    expect(replay.headers.get("idempotency-replayed")).toBe("true");
    expect(await jsonOf(replay)).toMatchObject({ id: first.id, release: 1 });
    const other = await again({ negative_prompt: "y" });
    expect(await refusalOf(other)).toMatchObject({ status: 422, code: "invalid_inputs" });
  });

  it("means nothing to another workspace or endpoint", async () => {
    await makeEndpoint(stranger.key, "fox");
    await makeEndpoint(workspace.key, "other");
    const body = { key: stranger.key, json: {}, headers: { "idempotency-key": "shared" } };
    const foreign = await jsonOf(await send("POST", "/v1/endpoints/fox/jobs", body));
    const mine = await jsonOf(await submit("fox", "{}", { "idempotency-key": "shared" }));
    const other = await jsonOf(await submit("other", "{}", { "idempotency-key": "shared" }));
    expect(new Set([foreign.id, mine.id, other.id]).size).toBe(3);
  });
});

describe("file inputs", () => {
  let fileId: string;
  const picture = png(64, 64, 1);
  const dataUri = `data:image/png;base64,${btoa(String.fromCharCode(...picture))}`;
  beforeAll(async () => {
    await makeEndpoint(workspace.key, "scale", { workflow: scaleGraph() });
    const file = await send("POST", "/v1/files", {
      key: workspace.key,
      body: picture,
      headers: { "content-type": "image/png" },
    });
    fileId = String((await jsonOf(file)).id);
  });
  const scale = (image: unknown) => submit("scale", JSON.stringify({ inputs: { image } }));

  it("take an uploaded file, or the same bytes as a data URI", async () => {
    for (const value of [fileId, dataUri]) {
      const job = await jsonOf(await scale(value));
      expect(job).toMatchObject({ state: "queued", inputs: { image: fileId } });
    }
  });

  it.each([
    ["of nobody", "file_0dpx4n3m8k7q2wz6tgr1vyc5ha", 404, "file_not_found"],
    ["a path", "../../etc/passwd", 422, "invalid_inputs"],
    ["broken base64", "data:image/png;base64,@@@", 422, "invalid_inputs"],
    ["an empty data URI", "data:image/png;base64,", 422, "invalid_file"],
    ["HTML as a picture", "data:image/png;base64,PGh0bWw+", 422, "invalid_file"],
    ["a text", "data:text/plain;base64,aGVsbG8=", 422, "invalid_file"],
    [
      "too many pixels",
      `data:image/png;base64,${btoa(String.fromCharCode(...png(13_000, 13_000)))}`,
      422,
      "invalid_file",
    ],
    ["a private address", "https://192.168.0.1/a.png", 422, "invalid_url"],
    ["plain http", "http://images.example.com/a.png", 422, "invalid_inputs"],
    ["a dead address", "http://127.0.0.1:9/a.png", 422, "url_fetch_failed"],
  ])("refuse a file %s", async (_name, value, status, code) => {
    expect(await refusalOf(await scale(value))).toEqual({ status, code, paths: ["/inputs/image"] });
  });

  it("refuse another workspace's file like an unknown one", async () => {
    const file = await send("POST", "/v1/files", {
      key: stranger.key,
      body: png(65, 65),
      headers: { "content-type": "image/png" },
    });
    const { id } = await jsonOf(file);
    expect(await refusalOf(await scale(id))).toMatchObject({ status: 404, code: "file_not_found" });
  });

  it("name every wrong file at once", async () => {
    const graph: JsonObject = {
      ...scaleGraph(),
      "4": { class_type: "LoadImage", inputs: { image: "b.png" } },
      "5": { class_type: "SaveImage", inputs: { images: ["4", 0], filename_prefix: "b" } },
    };
    const endpoint = await makeEndpoint(workspace.key, "two", { workflow: graph });
    const inputs = isJsonObject(endpoint.release) ? endpoint.release.inputs : [];
    const names = (Array.isArray(inputs) ? inputs.filter(isJsonObject) : [])
      .filter((input) => input.type === "file")
      .map((input) => String(input.name));
    expect(names).toHaveLength(2);
    const values = { [names[0] ?? ""]: "https://10.0.0.1/a.png", [names[1] ?? ""]: "data:image/png;base64,PGh0bWw+" };
    const refusal = await refusalOf(await submit("two", JSON.stringify({ inputs: values })));
    expect(refusal).toMatchObject({ status: 422, code: "invalid_inputs" });
    expect(refusal.paths?.toSorted()).toEqual(names.map((name) => `/inputs/${name}`).toSorted());
  });
});

describe("a job", () => {
  it("is canceled once, and says so again", async () => {
    const job = await submitJob(workspace.key, "fox");
    const cancel = () => send("POST", `/v1/jobs/${String(job.id)}/cancel`, { key: workspace.key });
    expect(await jsonOf(await cancel())).toMatchObject({ state: "canceled" });
    expect(await jsonOf(await cancel())).toMatchObject({ state: "canceled" });
  });

  it("is waited for no longer than asked", async () => {
    const answer = await submit("fox", "{}", { prefer: "respond-async, wait=0" });
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBe("wait=0");
    const { id } = await jsonOf(answer);
    const waited = await send("GET", `/v1/jobs/${String(id)}`, { key: workspace.key, headers: { prefer: "wait=0" } });
    expect(await jsonOf(waited)).toMatchObject({ state: "queued" });
    const ignored = await send("GET", `/v1/jobs/${String(id)}`, {
      key: workspace.key,
      headers: { prefer: "wait=soon" },
    });
    expect(ignored.headers.get("preference-applied")).toBeNull();
  });

  it("of an invented id makes no object", async () => {
    const before = (await env.CATALOG.prepare("SELECT count(*) AS n FROM endpoints").first<{ n: number }>())?.n;
    expect(await refusalOf(await getJob("job_0dpx4n3m8zzzzzzzzgr1vyc5ha"))).toEqual({
      status: 404,
      code: "job_not_found",
    });
    expect((await env.CATALOG.prepare("SELECT count(*) AS n FROM endpoints").first<{ n: number }>())?.n).toBe(before);
  });

  it("stays readable after its endpoint is deleted", async () => {
    await makeEndpoint(workspace.key, "brief");
    const job = await submitJob(workspace.key, "brief");
    await send("DELETE", "/v1/endpoints/brief", { key: workspace.key });
    expect(await jsonOf(await getJob(job.id))).toMatchObject({ state: "canceled" });
  });
});

describe("waiting for a result", () => {
  it("answers 200 with the ended job and its outputs", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const replica = joinNode(own).then(readyReplica).then(runNext);
    const answer = await send("POST", "/v1/endpoints/fox/jobs", {
      key: own.key,
      json: {},
      headers: { prefer: "wait=30" },
    });
    await replica;
    expect(answer.status).toBe(200);
    expect(await jsonOf(answer)).toMatchObject({ state: "succeeded", outputs: [{ content_type: "image/png" }] });
  });
});

describe("the list of jobs", () => {
  it("has every endpoint's jobs, newest first, page by page, and never lags", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "a");
    await makeEndpoint(own.key, "b");
    const ids: unknown[] = [];
    for (const slug of ["a", "b", "b", "a", "b"]) {
      ids.unshift((await submitJob(own.key, slug)).id);
      const [newest] = ((await jsonOf(await send("GET", "/v1/jobs?limit=1", { key: own.key }))).data ?? []) as {
        id: string;
      }[];
      expect(newest?.id).toBe(ids[0]);
    }
    // Within one millisecond two endpoints' jobs have no order but their ids'.
    const seen: unknown[] = [];
    let path = "/v1/jobs?limit=2";
    for (let round = 0; round < 3; round += 1) {
      const page = await jsonOf(await send("GET", path, { key: own.key }));
      seen.push(...(page.data as { id: string }[]).map((job) => job.id));
      path = `/v1/jobs?limit=2&cursor=${String(page.next_cursor)}`;
      expect(page.next_cursor === null).toBe(round === 2);
    }
    expect(seen).toEqual(ids.toSorted().toReversed());
    const ofB = await jsonOf(await send("GET", "/v1/jobs?endpoint=b", { key: own.key }));
    expect(ofB.data).toHaveLength(3);
  });

  it("is filtered by state and tag", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "a");
    const tagged = await jsonOf(await send("POST", "/v1/endpoints/a/jobs", { key: own.key, json: { tags: ["red"] } }));
    const other = await submitJob(own.key, "a");
    await send("POST", `/v1/jobs/${String(other.id)}/cancel`, { key: own.key });
    const idsOf = async (query: string) =>
      ((await jsonOf(await send("GET", `/v1/jobs?${query}`, { key: own.key }))).data as { id: string }[]).map(
        (job) => job.id,
      );
    expect(await idsOf("tag=red")).toEqual([tagged.id]);
    expect(await idsOf("state=canceled")).toEqual([other.id]);
    expect(await idsOf("state=failed")).toEqual([]);
  });

  it("is each workspace's own, and takes no cursor of another", async () => {
    expect((await jsonOf(await send("GET", "/v1/jobs", { key: (await makeWorkspace()).key }))).data).toEqual([]);
    const page = await jsonOf(await send("GET", "/v1/jobs?limit=1", { key: workspace.key }));
    const foreign = await send("GET", `/v1/jobs?cursor=${String(page.next_cursor)}`, { key: stranger.key });
    expect(await refusalOf(foreign)).toEqual({ status: 400, code: "invalid_cursor" });
  });
});

describe("the list of very large jobs", () => {
  it("has shorter pages, and every job once, newest first", async () => {
    const own = await makeWorkspace();
    const words = Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8].map((number) => [`words${number}`, "a"]));
    const workflow = {
      "1": { class_type: "Joiner", inputs: words },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
    };
    const inputs = Object.fromEntries(Object.keys(words).map((name) => [name, "x".repeat(99_000)]));
    await makeEndpoint(own.key, "large", { workflow });
    await makeEndpoint(own.key, "small");
    const made: unknown[] = [];
    for (let round = 0; round < 8; round += 1) {
      made.unshift((await submitJob(own.key, "large", inputs)).id, (await submitJob(own.key, "small")).id);
    }
    const listed: unknown[] = [];
    let pages = 0;
    for (let cursor: unknown = ""; cursor !== null; pages += 1) {
      const query = cursor === "" ? "" : `&cursor=${String(cursor)}`;
      const page = await jsonOf(await send("GET", `/v1/jobs?limit=100${query}`, { key: own.key }));
      const jobs = Array.isArray(page.data) ? page.data.filter(isJsonObject) : [];
      expect(jobs.length).toBeGreaterThan(0);
      listed.push(...jobs.map((job) => job.id));
      cursor = page.next_cursor ?? null;
    }
    expect(pages).toBeGreaterThan(1);
    expect([...listed].sort()).toEqual([...made].sort());
    expect(listed).toEqual([...listed].sort().reverse());
  });
});

describe("a job's events", () => {
  const stream = (own: TestWorkspace, id: unknown, headers: Record<string, string> = {}) =>
    send("GET", `/v1/jobs/${String(id)}/events`, { key: own.key, headers });

  async function collect(answer: Response): Promise<TestEvent[]> {
    const events: TestEvent[] = [];
    for await (const event of eventsOf(answer)) events.push(event);
    return events;
  }

  it("run from the submit to the whole job, numbered without gaps, and are replayed after any of them", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const answer = await send("POST", "/v1/endpoints/fox/jobs", {
      key: own.key,
      json: {},
      headers: { accept: "text/event-stream" },
    });
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const id = String(answer.headers.get("location")).split("/").at(-1);
    const work = joinNode(own).then(readyReplica).then(runNext);
    const events = await collect(answer);
    await work;

    const numbered = events.filter((event) => event.id !== null);
    expect(numbered.map((event) => event.id)).toEqual(numbered.map((_, index) => String(index + 1)));
    expect(numbered[0]).toMatchObject({ type: "queued", data: { at: expect.any(String) } });
    const last = numbered.at(-1);
    expect(last).toMatchObject({
      type: "succeeded",
      data: { id, state: "succeeded", outputs: [{ name: "image-0.png" }] },
    });
    const [output] = Array.isArray(last?.data.outputs) ? last.data.outputs : [];
    expect((await send("GET", String(isJsonObject(output) ? output.url : ""))).status).toBe(200);

    for (const after of [0, 1, numbered.length - 1]) {
      const again = await collect(await stream(own, id, { "last-event-id": String(after) }));
      expect(again.map((event) => event.id)).toEqual(numbered.slice(after).map((event) => event.id));
    }
    const ended = await stream(own, id, { "last-event-id": String(numbered.length) });
    expect(ended.status).toBe(204);
  });

  it("are not resumed after an event that the job does not have: its reader would miss those up to there", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const { id } = await submitJob(own.key, "fox");
    const refused = { status: 400, code: "malformed_request" };
    expect(await refusalOf(await stream(own, id, { "last-event-id": "2" }))).toEqual(refused);
    await send("POST", `/v1/jobs/${String(id)}/cancel`, { key: own.key });
    expect((await collect(await stream(own, id, { "last-event-id": "1" }))).map(({ type }) => type)).toEqual([
      "canceled",
    ]);
    expect(await refusalOf(await stream(own, id, { "last-event-id": "3" }))).toEqual(refused);
  });

  it("are refused to one reader too many, when it comes and when it comes back", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const job = await submitJob(own.key, "fox");
    const open = await Promise.all(Array.from({ length: WATCHERS_PER_JOB_MAX }, () => stream(own, job.id)));
    const ends = open.map(async (answer) => (await collect(answer)).at(-1)?.type);
    const refused = { status: 429, code: "too_many_watchers" };
    for (const headers of [{}, { "last-event-id": "1" }]) {
      const answer = await vi.waitFor(async () => {
        const one = await stream(own, job.id, headers);
        if (one.status === 200) await one.body?.cancel();
        expect(one.status).toBe(429);
        return one;
      });
      expect(answer.headers.get("retry-after")).toBe("5");
      expect(await refusalOf(answer)).toEqual(refused);
    }
    await send("POST", `/v1/jobs/${String(job.id)}/cancel`, { key: own.key });
    expect(await Promise.all(ends)).toEqual(open.map(() => "canceled"));
  });

  it("show progress and previews of the moment, without a number", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const job = await submitJob(own.key, "fox");
    const replica = await readyReplica(await joinNode(own));
    const lease = await takeLease(replica);
    const events = eventsOf(await stream(own, job.id));
    const seen: TestEvent[] = [];
    const until = async (type: string) => {
      for (;;) {
        const { done, value } = await events.next();
        if (done === true) throw new Error("the stream ended");
        seen.push(value);
        if (value.type === type) return value;
      }
    };
    await until("started");
    await sendLease(replica, lease, "POST", "progress", {
      json: {
        phase: "executing",
        progress: { fraction: 0.25, step: 5, steps: 20, nodes_done: 1, nodes_total: 7 },
        preview: { content_type: "image/jpeg", data: "AAAA" },
      },
    });
    expect(await until("preview")).toMatchObject({ id: null, data: { content_type: "image/jpeg", data: "AAAA" } });
    expect(seen.find((event) => event.type === "progress" && "fraction" in event.data)).toMatchObject({
      id: null,
      data: { fraction: 0.25, step: 5, steps: 20 },
    });
    await send("POST", `/v1/jobs/${String(job.id)}/cancel`, { key: own.key });
    expect(await until("canceled")).toMatchObject({ data: { state: "canceled" } });
    expect((await events.next()).done).toBe(true);
  });

  it("end for the server too when the reader leaves", async () => {
    const job = await submitJob(workspace.key, "fox");
    for (let reader = 0; reader < 5; reader += 1) {
      const answer = await stream(workspace, job.id);
      for await (const event of eventsOf(answer)) {
        expect(event.type).toBe("queued");
        break;
      }
    }
  });

  it("of a graph with an exact seed keep it to the end", async () => {
    await makeEndpoint(workspace.key, "seeded", { workflow: textGraph(18446744073709551615n) });
    const job = await submitJob(workspace.key, "seeded", { seed: 18446744073709551615n });
    await send("POST", `/v1/jobs/${String(job.id)}/cancel`, { key: workspace.key });
    const text = await (await stream(workspace, job.id)).text();
    expect(text).toContain('"seed":18446744073709551615');
  });
});
