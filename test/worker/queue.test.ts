import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { EndpointId, JobId, makeId, OperationId, ownerKey } from "#contract/ids";
import { joinNode, readyReplica, sendLease, succeed, type TestReplica, takeLease } from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
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
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
  await makeEndpoint(stranger.key, "foreign");
});

const call = (own: TestWorkspace, method: string, path: string, json?: unknown, headers: Record<string, string> = {}) =>
  send(method, path, { key: own.key, headers, ...(json === undefined ? {} : { json }) });
const dataOf = (page: JsonObject): JsonObject[] => (Array.isArray(page.data) ? page.data.filter(isJsonObject) : []);
const idsOf = (jobs: readonly JsonObject[]) => jobs.map((job) => job.id);

/** An endpoint of its own with so many waiting jobs. */
async function queueOf(slug: string, jobs: number): Promise<JsonObject[]> {
  await makeEndpoint(workspace.key, slug);
  const made: JsonObject[] = [];
  for (let index = 0; index < jobs; index += 1) made.push(await submitJob(workspace.key, slug));
  return made;
}

/** A workspace with one endpoint and one machine at work for it. */
async function machineFor(slug: string): Promise<{ own: TestWorkspace; replica: TestReplica }> {
  const own = await makeWorkspace();
  await makeEndpoint(own.key, slug);
  const first = await submitJob(own.key, slug);
  const replica = await readyReplica(await joinNode(own));
  await failNext(replica, "execution_error");
  expect(await jobOf(own, first.id)).toMatchObject({ state: "failed" });
  return { own, replica };
}

async function failNext(replica: TestReplica, code: string): Promise<string> {
  const lease = await takeLease(replica);
  await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
  const json = { error: { code, message: "it broke" }, phases: [] };
  expect((await sendLease(replica, lease, "POST", "fail", { json })).status).toBe(204);
  return lease.job_id;
}

const jobOf = async (own: TestWorkspace, id: unknown) => jsonOf(await call(own, "GET", `/v1/jobs/${String(id)}`));

/** An operation once it has ended. */
async function ended(own: TestWorkspace, answer: Response): Promise<JsonObject> {
  expect(answer.status).toBe(202);
  let operation = await jsonOf(answer);
  const path = `/v1/operations/${String(operation.id)}`;
  expect(answer.headers.get("location")).toBe(`${ORIGIN}${path}`);
  await expect
    .poll(
      async () => {
        operation = await jsonOf(await call(own, "GET", path));
        return operation.state;
      },
      { timeout: 20_000 },
    )
    .not.toBe("running");
  return operation;
}

describe("a queue", () => {
  it("says how it stands", async () => {
    await queueOf("stands", 2);
    await call(workspace, "POST", "/v1/endpoints/stands/jobs", { lane: "batch" });
    const queue = await jsonOf(await call(workspace, "GET", "/v1/endpoints/stands/queue"));
    expect(queue).toMatchObject({
      paused: null,
      queued: { interactive: 2, batch: 1 },
      retrying: 0,
      running: 0,
      dead: 0,
      in_flight: [],
      arrived_last_minute: 3,
      storage: { bytes_max: 10_000_000_000, state: "ample" },
    });
    expect((queue.storage as JsonObject).bytes).toBeGreaterThan(10_000);
    expect(queue.oldest_wait_ms).toBeTypeOf("number");
  });

  it("lists who waits in the order of their start, page by page", async () => {
    const jobs = await queueOf("ordered", 4);
    const urgent = await jsonOf(await call(workspace, "POST", "/v1/endpoints/ordered/jobs", { priority: 9 }));
    const later = await jsonOf(await call(workspace, "POST", "/v1/endpoints/ordered/jobs", { lane: "batch" }));
    const seen: JsonObject[] = [];
    let cursor: unknown;
    for (let pages = 0; cursor !== null && pages < 10; pages += 1) {
      const next = pages === 0 ? "" : `&cursor=${String(cursor)}`;
      const page = await jsonOf(await call(workspace, "GET", `/v1/endpoints/ordered/queue/jobs?limit=4${next}`));
      seen.push(...dataOf(page));
      cursor = page.next_cursor;
    }
    expect(seen.map((entry) => entry.job_id)).toEqual([urgent.id, ...idsOf(jobs), later.id]);
    expect(seen.map((entry) => entry.position)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(seen[0]).toMatchObject({ lane: "interactive", priority: 9, phase: "waiting", attempt: 0, batch_id: null });
    const lane = await jsonOf(await call(workspace, "GET", "/v1/endpoints/ordered/queue/jobs?lane=batch"));
    expect(dataOf(lane).map((entry) => entry.job_id)).toEqual([later.id]);
  });

  it("is there though its object did not hear of the endpoint", async () => {
    const endpoint = await makeEndpoint(workspace.key, "unheard");
    const key = ownerKey(EndpointId.parse(endpoint.id));
    for (const ask of [
      () => call(workspace, "GET", "/v1/endpoints/unheard/queue"),
      () => call(workspace, "GET", "/v1/endpoints/unheard/queue/jobs"),
      () => call(workspace, "POST", "/v1/endpoints/unheard/batches", { inputs: [{}] }),
    ]) {
      await env.ENDPOINTS.getByName(key).remove(workspace.workspaceId);
      expect((await ask()).ok).toBe(true);
    }
  });

  it("takes a cursor back only for the list it was given for", async () => {
    await queueOf("cursors", 3);
    await queueOf("cursors-b", 1);
    const page = await jsonOf(await call(workspace, "GET", "/v1/endpoints/cursors/queue/jobs?limit=1"));
    const cursor = String(page.next_cursor);
    for (const path of [
      `/v1/endpoints/cursors/queue/jobs?lane=batch&cursor=${cursor}`,
      `/v1/endpoints/cursors-b/queue/jobs?cursor=${cursor}`,
      `/v1/endpoints/cursors/queue/dead?cursor=${cursor}`,
      `/v1/endpoints/cursors/operations?cursor=${cursor}`,
      `/v1/jobs?cursor=${cursor}`,
      `/v1/usage?cursor=${cursor}`,
      `/v1/endpoints/cursors/queue/jobs?cursor=${cursor.slice(0, -2)}`,
    ]) {
      expect(await refusalOf(await call(workspace, "GET", path))).toEqual({ status: 400, code: "invalid_cursor" });
    }
    expect((await call(workspace, "GET", `/v1/endpoints/cursors/queue/jobs?limit=2&cursor=${cursor}`)).status).toBe(
      200,
    );
  });
});

describe("pausing", () => {
  it("keeps jobs waiting, says why, and ends with resume", async () => {
    const { own, replica } = await machineFor("paused");
    const paused = await call(own, "POST", "/v1/endpoints/paused/queue/pause", { reason: "a new driver" });
    expect(await jsonOf(paused)).toMatchObject({ paused: { reason: "a new driver", refuse_new: false } });
    const job = await submitJob(own.key, "paused");
    const why = await jsonOf(await call(own, "GET", `/v1/jobs/${String(job.id)}/why`));
    expect(why).toMatchObject({ job_id: job.id, state: "queued", reasons: [{ code: "paused" }] });
    expect(why.summary).toBeTypeOf("string");
    expect(await jsonOf(await call(own, "POST", "/v1/endpoints/paused/queue/resume"))).toMatchObject({ paused: null });
    const lease = await takeLease(replica);
    expect(lease.job_id).toBe(job.id);
    await succeed(replica, lease, png(8, 8));
    expect(await jsonOf(await call(own, "GET", `/v1/jobs/${String(job.id)}/why`))).toMatchObject({ reasons: [] });
  });

  it("needs no word", async () => {
    await queueOf("silent", 0);
    const paused = await jsonOf(await call(workspace, "POST", "/v1/endpoints/silent/queue/pause"));
    expect(paused).toMatchObject({ paused: { reason: null, refuse_new: false } });
  });

  it("can refuse new jobs", async () => {
    await queueOf("closed", 0);
    await call(workspace, "POST", "/v1/endpoints/closed/queue/pause", { refuse_new: true });
    const answer = await call(workspace, "POST", "/v1/endpoints/closed/jobs", {});
    expect(answer.headers.get("retry-after")).toMatch(/^[1-9][0-9]*$/);
    expect(await refusalOf(answer)).toMatchObject({ status: 503, code: "queue_paused" });
    const batch = await call(workspace, "POST", "/v1/endpoints/closed/batches", { inputs: [{}] });
    expect(await refusalOf(batch)).toMatchObject({ status: 503, code: "queue_paused" });
    await call(workspace, "POST", "/v1/endpoints/closed/queue/resume");
    expect((await call(workspace, "POST", "/v1/endpoints/closed/jobs", {})).status).toBe(202);
  });

  it("needs the scope deploy", async () => {
    const caller = await makeWorkspace(["run", "read"]);
    for (const path of ["pause", "resume", "purge"]) {
      const answer = await call(caller, "POST", `/v1/endpoints/any/queue/${path}`, { confirm: "any" });
      expect(await refusalOf(answer)).toEqual({ status: 403, code: "missing_scope" });
    }
  });
});

describe("a waiting job", () => {
  it("can be moved to the front, and to another lane and priority", async () => {
    const [, , last] = await queueOf("bumped", 3);
    const path = `/v1/jobs/${String(last?.id)}`;
    expect(last?.position).toBe(3);
    expect(await jsonOf(await call(workspace, "PATCH", path, { position: "front" }))).toMatchObject({ position: 1 });
    const moved = await jsonOf(await call(workspace, "PATCH", path, { lane: "batch", priority: 1 }));
    expect(moved).toMatchObject({ lane: "batch", priority: 1, position: 3 });
  });

  it.each([
    [{}, [""]],
    [{ position: "back" }, ["/position"]],
    [{ priority: 10 }, ["/priority"]],
    [{ priority: "9" }, ["/priority"]],
    [{ lane: null }, ["/lane"]],
    [{ state: "running" }, ["/state", ""]],
  ])("is not moved by %j", async (json, paths) => {
    const job = await submitJob(stranger.key, "foreign");
    const answer = await call(stranger, "PATCH", `/v1/jobs/${String(job.id)}`, json);
    expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_body", paths });
  });

  it("is not moved once it runs or has ended", async () => {
    const { own, replica } = await machineFor("moving");
    const job = await submitJob(own.key, "moving");
    const path = `/v1/jobs/${String(job.id)}`;
    const lease = await takeLease(replica);
    expect(await refusalOf(await call(own, "PATCH", path, { priority: 9 }))).toEqual({
      status: 409,
      code: "job_running",
    });
    await succeed(replica, lease, png(8, 8));
    expect(await refusalOf(await call(own, "PATCH", path, { priority: 9 }))).toEqual({
      status: 409,
      code: "job_finished",
    });
  });
});

describe("retrying a job", () => {
  it("makes a new one with the same inputs, once for each key", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "again");
    const job = await submitJob(own.key, "again", { seed: 18446744073709551615n, prompt: "x" });
    const path = `/v1/jobs/${String(job.id)}/retry`;
    expect(await refusalOf(await call(own, "POST", path))).toEqual({ status: 409, code: "job_not_finished" });
    await call(own, "POST", `/v1/jobs/${String(job.id)}/cancel`);
    const headers = { "idempotency-key": "again-1" };
    const first = await call(own, "POST", path, undefined, headers);
    expect(first.status).toBe(202);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const made = await jsonOf(first);
    expect(made).toMatchObject({ state: "queued", retry_of: job.id, inputs: { seed: 18446744073709551615n } });
    expect(first.headers.get("location")).toBe(`${ORIGIN}/v1/jobs/${String(made.id)}`);
    const again = await call(own, "POST", path, undefined, headers);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect((await jsonOf(again)).id).toBe(made.id);
    expect(await jobOf(own, job.id)).toMatchObject({ state: "canceled", retried_as: made.id });

    const other = await submitJob(own.key, "again");
    await call(own, "POST", `/v1/jobs/${String(other.id)}/cancel`);
    const reused = await call(own, "POST", `/v1/jobs/${String(other.id)}/retry`, undefined, headers);
    expect(await refusalOf(reused)).toEqual({ status: 422, code: "idempotency_key_reused" });
    const malformed = await call(own, "POST", path, undefined, { "idempotency-key": "a b" });
    expect(await refusalOf(malformed)).toEqual({ status: 400, code: "invalid_idempotency_key" });
  });
});

describe("purging", () => {
  it("cancels the jobs that wait, and no other", async () => {
    const { own, replica } = await machineFor("purged");
    const running = await submitJob(own.key, "purged");
    await takeLease(replica);
    const tagged = await jsonOf(await call(own, "POST", "/v1/endpoints/purged/jobs", { tags: ["old"] }));
    const kept = await submitJob(own.key, "purged");
    const purge = (json: unknown) => call(own, "POST", "/v1/endpoints/purged/queue/purge", json);
    expect(await ended(own, await purge({ confirm: "purged", tag: "old" }))).toMatchObject({
      kind: "purge",
      state: "done",
      changed: 1,
      progress: 1,
    });
    expect(await jobOf(own, tagged.id)).toMatchObject({ state: "canceled" });
    expect(await jobOf(own, kept.id)).toMatchObject({ state: "queued" });
    expect(await ended(own, await purge({ confirm: "purged" }))).toMatchObject({ changed: 1 });
    expect(await jobOf(own, kept.id)).toMatchObject({ state: "canceled" });
    expect(await jobOf(own, running.id)).toMatchObject({ state: "running" });
    expect(await ended(own, await purge({ confirm: "purged", state: "dead" }))).toMatchObject({ changed: 1 });
    expect(await jsonOf(await call(own, "GET", "/v1/endpoints/purged/queue"))).toMatchObject({ dead: 0 });
  });

  it.each([
    [{}, 422, "invalid_body"],
    [{ confirm: "" }, 422, "confirmation_mismatch"],
    [{ confirm: "CONFIRMED" }, 422, "confirmation_mismatch"],
    [{ confirm: true }, 422, "invalid_body"],
    [{ confirm: "confirmed", state: "running" }, 422, "invalid_body"],
    [{ confirm: "confirmed", tag: "" }, 422, "invalid_body"],
    [{ confirm: "confirmed", all: true }, 422, "invalid_body"],
  ])("with %j removes nothing", async (json, status, code) => {
    const slug = `confirmed-${JSON.stringify(json).length}`;
    const [job] = await queueOf(slug, 1);
    const answer = await call(workspace, "POST", `/v1/endpoints/${slug}/queue/purge`, json);
    expect(await refusalOf(answer)).toMatchObject({ status, code });
    expect(await jobOf(workspace, job?.id)).toMatchObject({ state: "queued" });
  });
});

describe("dead letters", () => {
  it("are listed, run again as new jobs, and then off the list", async () => {
    const { own, replica } = await machineFor("dead");
    await submitJob(own.key, "dead", { prompt: "second" });
    await failNext(replica, "missing_model");
    const list = async () => dataOf(await jsonOf(await call(own, "GET", "/v1/endpoints/dead/queue/dead")));
    const [newest, oldest] = await list();
    expect(newest).toMatchObject({ state: "failed", error: { code: "missing_model" }, inputs: { prompt: "second" } });
    expect(oldest).toMatchObject({ error: { code: "execution_error" } });
    const first = await jsonOf(await call(own, "GET", "/v1/endpoints/dead/queue/dead?limit=1"));
    const second = await jsonOf(
      await call(own, "GET", `/v1/endpoints/dead/queue/dead?limit=1&cursor=${String(first.next_cursor)}`),
    );
    expect([...idsOf(dataOf(first)), ...idsOf(dataOf(second))]).toEqual([newest?.id, oldest?.id]);

    const redrive = (json: unknown, headers: Record<string, string> = {}) =>
      call(own, "POST", "/v1/endpoints/dead/queue/dead/redrive", json, headers);
    const foreign = await submitJob(stranger.key, "foreign");
    const some = await ended(own, await redrive({ jobs: [newest?.id, foreign.id] }));
    expect(some).toMatchObject({ kind: "redrive", changed: 1, skipped: 1, created_jobs: [expect.any(String)] });
    const [created] = Array.isArray(some.created_jobs) ? some.created_jobs : [];
    expect(await jobOf(own, created)).toMatchObject({ state: "queued", retry_of: newest?.id });
    expect(idsOf(await list())).toEqual([oldest?.id]);
    expect(await ended(own, await redrive({ since: "2999-01-01T00:00:00Z" }))).toMatchObject({ changed: 0 });

    const headers = { "idempotency-key": "redrive-1" };
    const all = await redrive({ all: true }, headers);
    const again = await redrive({ all: true }, headers);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect((await jsonOf(again)).id).toBe((await ended(own, all)).id);
    expect(await list()).toEqual([]);
    const other = await redrive({ since: "2026-01-01T00:00:00Z" }, headers);
    expect(await refusalOf(other)).toEqual({ status: 422, code: "idempotency_key_reused" });
  });

  it.each([
    [{}],
    [{ all: false }],
    [{ all: true, since: "2026-01-01T00:00:00Z" }],
    [{ jobs: [] }],
    [{ jobs: ["job_1"] }],
    [{ jobs: Array.from({ length: 1_001 }, () => "job_0dpx4n3m8k7q2wz6tgr1vyc5ha") }],
    [{ since: "yesterday" }],
  ])("are not redriven by %j", async (json) => {
    const answer = await call(stranger, "POST", "/v1/endpoints/foreign/queue/dead/redrive", json);
    expect(await refusalOf(answer)).toMatchObject({ status: 422, code: "invalid_body" });
  });
});

describe("operations", () => {
  it("cancel and retry the jobs that fit, and are listed newest first", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "bulk");
    const submit = async (body: unknown) => jsonOf(await call(own, "POST", "/v1/endpoints/bulk/jobs", body));
    const tagged = [await submit({ tags: ["x"] }), await submit({ tags: ["x", "y"], lane: "batch" })];
    const other = await submit({ tags: ["y"] });
    const operate = (json: unknown) => call(own, "POST", "/v1/endpoints/bulk/operations", json);
    const canceled = await ended(own, await operate({ action: "cancel", selection: { tag: "x" } }));
    expect(canceled).toMatchObject({ kind: "cancel", state: "done", changed: 2, created_jobs: [] });
    for (const job of tagged) expect(await jobOf(own, job.id)).toMatchObject({ state: "canceled" });
    expect(await jobOf(own, other.id)).toMatchObject({ state: "queued" });

    const selection = { state: "canceled", lane: "batch", created_after: "2026-01-01T00:00:00+01:00" };
    const retried = await ended(own, await operate({ action: "retry", selection }));
    expect(retried).toMatchObject({ kind: "retry", changed: 1 });
    const [created] = Array.isArray(retried.created_jobs) ? retried.created_jobs : [];
    expect(await jobOf(own, created)).toMatchObject({ retry_of: tagged[1]?.id, lane: "batch", tags: ["x", "y"] });

    const first = await jsonOf(await call(own, "GET", "/v1/endpoints/bulk/operations?limit=1"));
    const second = await jsonOf(
      await call(own, "GET", `/v1/endpoints/bulk/operations?limit=1&cursor=${String(first.next_cursor)}`),
    );
    expect([...idsOf(dataOf(first)), ...idsOf(dataOf(second))]).toEqual([retried.id, canceled.id]);
    expect(second.next_cursor).toBeNull();
    const stopped = await jsonOf(await call(own, "POST", `/v1/operations/${String(canceled.id)}/cancel`));
    expect(stopped).toEqual(canceled);
  });

  it.each([
    [{ action: "purge", selection: {} }, ["/action"]],
    [{ action: "cancel" }, ["/selection"]],
    [{ action: "cancel", selection: { state: "dead" } }, ["/selection/state"]],
    [{ action: "cancel", selection: { key_id: 1 } }, ["/selection/key_id"]],
    [{ action: "retry", selection: { owner: "me" } }, ["/selection/owner"]],
    [{ action: "retry", selection: { created_after: "2026-01-01" } }, ["/selection/created_after"]],
  ])("refuse %j", async (json, paths) => {
    const answer = await call(stranger, "POST", "/v1/endpoints/foreign/operations", json);
    expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_body", paths });
  });
});

describe("what is somebody else's", () => {
  const routes = [
    ["GET", "/v1/jobs/{job}/why"],
    ["PATCH", "/v1/jobs/{job}", { priority: 1 }],
    ["POST", "/v1/jobs/{job}/retry"],
    ["POST", "/v1/jobs/{job}/cancel"],
    ["GET", "/v1/operations/{operation}"],
    ["POST", "/v1/operations/{operation}/cancel"],
    ["GET", "/v1/endpoints/{endpoint}/queue"],
    ["GET", "/v1/endpoints/{endpoint}/queue/jobs"],
    ["POST", "/v1/endpoints/{endpoint}/queue/pause", {}],
    ["POST", "/v1/endpoints/{endpoint}/queue/resume"],
    ["POST", "/v1/endpoints/{endpoint}/queue/purge", { confirm: "foreign" }],
    ["GET", "/v1/endpoints/{endpoint}/queue/dead"],
    ["POST", "/v1/endpoints/{endpoint}/queue/dead/redrive", { all: true }],
    ["POST", "/v1/endpoints/{endpoint}/operations", { action: "cancel", selection: {} }],
    ["GET", "/v1/endpoints/{endpoint}/operations"],
    ["GET", "/v1/usage?endpoint={endpoint}"],
    ["GET", "/v1/jobs?endpoint={endpoint}"],
  ] as const;
  let names: readonly Record<string, string>[];

  beforeAll(async () => {
    const job = await submitJob(stranger.key, "foreign");
    const started = await call(stranger, "POST", "/v1/endpoints/foreign/operations", {
      action: "cancel",
      selection: { tag: "none" },
    });
    const own = await makeEndpoint(workspace.key, "mine");
    const ownJob = await submitJob(workspace.key, "mine");
    const ownKey = ownerKey(JobId.parse(ownJob.id));
    expect(own.slug).toBe("mine");
    const now = Date.now();
    names = [
      { endpoint: String(job.endpoint_id), job: String(job.id), operation: String((await jsonOf(started)).id) },
      {
        endpoint: "no-such-endpoint",
        job: makeId(JobId, "job", now, randomBytes),
        operation: makeId(OperationId, "op", now, randomBytes),
      },
      {
        endpoint: "ep_0dpx4n3m8k7q2wz6tgr1vyc5ha",
        job: makeId(JobId, "job", now, randomBytes, ownKey),
        operation: makeId(OperationId, "op", now, randomBytes, ownKey),
      },
    ];
  });

  it.each(routes)("%s %s is the same 404 as what does not exist", async (method, path, json?) => {
    const answers: JsonObject[] = [];
    for (const values of names) {
      const address = path.replaceAll(/\{([a-z]+)\}/g, (_, name: string) => values[name] ?? "");
      const answer = await call(workspace, method, address, json);
      expect(answer.status).toBe(404);
      const { request_id, ...body } = await jsonOf(answer);
      expect(request_id).toMatch(/^req_/);
      answers.push(body);
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });
});
