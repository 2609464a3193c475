/** The deploy gate over HTTP, as callers, operators and agents meet it. */
import { beforeAll, describe, expect, it } from "vitest";
import { ReplicaPollAnswer } from "#contract/agent";
import type { JsonObject } from "#contract/exact-json";
import { agentHeaders, freshPollId, joinNode, pollLine, readyReplica, type TestReplica } from "#test/worker/agent-node";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";

const ROUNDS_MAX = 200;

let workspace: TestWorkspace;
let replica: TestReplica;
beforeAll(async () => {
  workspace = await makeWorkspace();
  // All tests share one endpoint, whose release 1 has run: each goes on where the last one ended.
  await makeEndpoint(workspace.key, "gated", { settings: { min_replicas: 1, max_replicas: 1 } });
  replica = await readyReplica(await joinNode(workspace));
  await agent("state", { state: "ready", phases: [], proven: 1 });
  await shown((endpoint) => (endpoint.release as JsonObject).state === "ready");
});

const call = (method: string, path: string, json?: unknown, headers: Record<string, string> = {}) =>
  send(method, `/v1/endpoints/gated${path}`, { key: workspace.key, headers, ...(json === undefined ? {} : { json }) });
const deploy = async (seed: number, more: JsonObject = {}) =>
  jsonOf(await call("PATCH", "", { workflow: textGraph(seed), ...more }));

/** The endpoint, once it is as it should be. */
async function shown(isSo: (endpoint: JsonObject) => boolean): Promise<JsonObject> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const endpoint = await jsonOf(await call("GET", ""));
    if (isSo(endpoint)) return endpoint;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("it never came to that");
}

async function agent(path: string, json: unknown): Promise<Response> {
  return send("POST", `/agent/v1/replicas/${replica.replicaId}/${path}`, {
    key: replica.node.session,
    headers: agentHeaders(),
    json,
  });
}

/** Asks for work until an errand comes. */
async function errand(): Promise<{ id: string; release: number }> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const id = freshPollId();
    const answer = await agent("poll", { poll_id: id, leases: [], verifies: true, wait_ms: 100 });
    const { verify } = ReplicaPollAnswer.parse(await pollLine(answer));
    if (verify != null) return { id, ...verify };
  }
  throw new Error("no errand came");
}

/** What an agent says of an errand. */
async function verified(state: string, more: JsonObject = {}): Promise<JsonObject> {
  const { id, release } = await errand();
  return jsonOf(await agent("verifications", { errand: id, release, state, ...more }));
}

/** The release that a new job gets, which nobody does. */
async function releaseOfJob(): Promise<unknown> {
  const job = await submitJob(workspace.key, "gated");
  const canceled = await send("POST", `/v1/jobs/${job.id}/cancel`, { key: workspace.key });
  expect(canceled.status).toBe(200);
  return job.release;
}

const number = (endpoint: JsonObject) => (endpoint.release as JsonObject).number;
const nothingWaits = (endpoint: JsonObject) => endpoint.pending === null;

describe("a deploy to an endpoint whose active release has run", () => {
  it("waits: the old release stays, new jobs run on it, and the endpoint says what it waits for", async () => {
    const asked = await deploy(2);
    expect(asked).toMatchObject({
      release: { number: 1, state: "ready", forced: false },
      newest_release: 2,
      pending: { release: 2, canary: null, state: "verifying" },
    });
    expect(await releaseOfJob()).toBe(1);
    // The same deploy again makes no other release, and changes nothing of what waits.
    const again = await deploy(2);
    expect([again.newest_release, (again.pending as JsonObject).since]).toEqual([
      2,
      (asked.pending as JsonObject).since,
    ]);
    // Lists ask no object.
    const list = await jsonOf(await send("GET", "/v1/endpoints", { key: workspace.key }));
    expect(list).toMatchObject({ data: [{ pending: null, release: { state: null, verification: [] } }] });
  });

  it("is done by itself, and the log is streamed until then", async () => {
    const stream = await call("GET", "/releases/2/logs", undefined, { accept: "text/event-stream" });
    expect([stream.status, stream.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
    const text = stream.text();
    expect(await verified("ready", { log: ["it has run"], log_from: 0 })).toMatchObject({ log_next: 1 });
    const endpoint = await shown((now) => number(now) === 2 && nothingWaits(now));
    expect(endpoint).toMatchObject({ release: { state: "ready", verification: [{ gpu_type: null, state: "ready" }] } });
    const events = await text;
    expect(events).toContain('"text":"it has run"');
    expect(events).toMatch(/event: end\ndata: \{"state":"ready"\}\n\n$/);
    const ids = [...events.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(ids.map((_, index) => index + 1));
    // The rest of the log is sent to who comes back.
    const rest = await call("GET", "/releases/2/logs", undefined, {
      accept: "text/event-stream",
      "last-event-id": String(ids.length - 1),
    });
    expect([...(await rest.text()).matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))).toEqual([ids.length]);
    expect(await releaseOfJob()).toBe(2);
  });

  it("ends where the release cannot run: the reason is in the release and its log", async () => {
    const asked = await jsonOf(await call("POST", "/releases", { workflow: textGraph(3) }));
    expect(asked).toMatchObject({ number: 3, active: false, state: "verifying" });
    await verified("failed", { error: "This ComfyUI has no node class Sharpen.", final: true });
    await shown(nothingWaits);
    const failed = await jsonOf(await call("GET", "/releases/3"));
    expect(failed).toMatchObject({
      state: "failed",
      active: false,
      verification: [{ state: "failed", error: "This ComfyUI has no node class Sharpen." }],
    });
    const listed = (await jsonOf(await call("GET", "/releases"))).data as JsonObject[];
    expect(listed.map(({ number: each, state, active }) => [each, state, active])).toEqual([
      [3, "failed", false],
      [2, "ready", true],
      [1, "ready", false],
    ]);
    const log = await call("GET", "/releases/3/logs");
    expect(log.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await log.text()).toContain(`${replica.replicaId} Release 3 cannot run`);
  });

  it("is at once with force, which an activation without a body does not ask for", async () => {
    const waits = await jsonOf(await call("POST", "/releases/3/activate"));
    expect(waits).toMatchObject({ release: { number: 2 }, pending: { release: 3 } });
    const forced = await jsonOf(await call("POST", "/releases/3/activate", { force: true }));
    expect(forced).toMatchObject({ release: { number: 3, forced: true }, pending: null });
    const back = await jsonOf(await call("POST", "/rollback", {}));
    expect(back).toMatchObject({ release: { number: 2, forced: false }, pending: null });
    const deployed = await deploy(4, { force: true });
    expect(deployed).toMatchObject({ release: { number: 4, forced: true }, pending: null });
    expect(await jsonOf(await call("POST", "/releases/2/activate", {}))).toMatchObject({ release: { number: 2 } });
  });

  it("holds a canary back in the same way, and weight 0 ends the wait", async () => {
    await deploy(5, { activate: false });
    const waits = await jsonOf(await call("POST", "/releases/5/canary", { weight: 0.5 }));
    expect(waits).toMatchObject({ canary: null, pending: { release: 5, canary: { weight: 0.5 } } });
    const ended = await jsonOf(await call("POST", "/releases/5/canary", { weight: 0 }));
    expect(ended).toMatchObject({ canary: null, pending: null });
    const forced = await jsonOf(await call("POST", "/releases/5/canary", { weight: 0.5, force: true }));
    expect(forced).toMatchObject({ canary: { release: 5, weight: 0.5 }, pending: null });
    // It is at work already: another part of the jobs is no other matter.
    const more = await jsonOf(await call("POST", "/releases/5/canary", { weight: 0.75 }));
    expect(more).toMatchObject({ canary: { release: 5, weight: 0.75 }, pending: null });
    await call("POST", "/releases/5/canary", { weight: 0 });
    await call("POST", "/releases/5/canary", { weight: 0.25 });
    await verified("ready");
    expect(await shown(nothingWaits)).toMatchObject({ release: { number: 2 }, canary: { release: 5, weight: 0.25 } });
  });
});

describe("an activation that prefers to wait", () => {
  const activate = (release: number, prefer: string) =>
    call("POST", `/releases/${release}/activate`, undefined, { prefer });
  let next = 0;
  /** A release that nobody has tried. */
  const made = async (seed: number) => {
    next = Number((await deploy(seed, { activate: false })).newest_release);
    return next;
  };

  it("is answered when the release has its place, or cannot have it, or still waits", async () => {
    const release = await made(60);
    const early = await activate(release, "wait=1");
    expect([early.status, early.headers.get("preference-applied")]).toEqual([202, "wait=1"]);
    expect(await jsonOf(early)).toMatchObject({ release: { number: 2 }, pending: { release } });

    const waiting = activate(release, "respond-async, wait=60");
    await verified("ready", { log: ["a line on the way"], log_from: 0 });
    const done = await waiting;
    expect([done.status, done.headers.get("preference-applied")]).toEqual([200, "wait=60"]);
    expect(await jsonOf(done)).toMatchObject({ release: { number: release, state: "ready" }, pending: null });

    const failing = await made(61);
    const refused = activate(failing, "wait=60");
    await verified("failed", { error: "This ComfyUI has no node class Sharpen.", final: true });
    const failed = await refused;
    expect([failed.status, await failed.json()]).toMatchObject([
      409,
      { code: "release_failed", detail: `Release ${failing} cannot run: This ComfyUI has no node class Sharpen.` },
    ]);
    expect(await jsonOf(await call("GET", ""))).toMatchObject({ release: { number: release }, pending: null });
  });

  it("is answered when another release is wished for instead", async () => {
    const [before, release] = [next - 1, await made(62)];
    const waiting = activate(release, "wait=60");
    await shown(({ pending }) => (pending as JsonObject | null)?.release === release);
    expect((await activate(before, "wait=60")).status).toBe(200);
    expect(await refusalOf(await waiting)).toMatchObject({ status: 409, code: "release_not_active" });
  });

  it("waits for a canary likewise, and for nothing where nothing has to be waited for", async () => {
    const release = await made(63);
    const canary = call("POST", `/releases/${release}/canary`, { weight: 0.5 }, { prefer: "wait=60" });
    await verified("ready");
    const done = await canary;
    expect([done.status, await jsonOf(done)]).toMatchObject([200, { canary: { release, weight: 0.5 } }]);
    expect((await activate(2, "wait=60")).status).toBe(200);
    expect((await activate(2, "wait=soon")).headers.get("preference-applied")).toBeNull();
  });
});

describe("what came of trying a release", () => {
  it("is told to those who subscribe to it, once", async () => {
    const events = ["release.ready", "release.failed"];
    const made = await send("POST", "/v1/webhooks", {
      key: workspace.key,
      json: { kind: "listen", events, endpoint: "gated" },
    });
    const { id } = await jsonOf(made);
    const bodies = async () => {
      const page = await jsonOf(await send("GET", `/v1/webhooks/${String(id)}/deliveries`, { key: workspace.key }));
      return (page.data as JsonObject[]).map(
        ({ body, job_id }) => ({ job_id, ...JSON.parse(String(body)) }) as JsonObject,
      );
    };
    const good = Number((await deploy(70, { activate: false })).newest_release);
    await call("POST", `/releases/${good}/activate`);
    await verified("ready");
    await shown(nothingWaits);
    // It is ready already: activating it again is no news.
    await call("POST", `/releases/2/activate`);
    await call("POST", `/releases/${good}/activate`);
    const bad = Number((await deploy(71)).newest_release);
    await verified("failed", { error: "This ComfyUI has no node class Sharpen.", final: true });
    await shown(nothingWaits);
    let told: JsonObject[] = [];
    for (let round = 0; round < ROUNDS_MAX && told.length < 2; round += 1) {
      told = await bodies();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const common = { endpoint: "gated", endpoint_id: (await jsonOf(await call("GET", ""))).id, gpu_type: null };
    expect(told.toReversed()).toMatchObject([
      { type: "release.ready", job_id: null, data: { ...common, release: good, state: "ready", error: null } },
      {
        type: "release.failed",
        job_id: null,
        data: { ...common, release: bad, state: "failed", error: "This ComfyUI has no node class Sharpen." },
      },
    ]);
  });
});

describe("calls of the gate", () => {
  it.each([
    ["POST", "/releases/2/activate", { force: "yes" }, 422, "invalid_body"],
    ["POST", "/releases/2/activate", { forced: true }, 422, "invalid_body"],
    ["POST", "/releases/99/activate", undefined, 404, "release_not_found"],
    ["GET", "/releases/99/logs", undefined, 404, "release_not_found"],
  ])("%s %s with %j is refused with %i %s", async (method, path, json, status, code) => {
    expect(await refusalOf(await call(method, path, json))).toMatchObject({ status, code });
  });

  it("refuses a line number that is none, and a stranger everything", async () => {
    const wrong = { accept: "text/event-stream", "last-event-id": "last" };
    expect(await refusalOf(await call("GET", "/releases/2/logs", undefined, wrong))).toMatchObject({
      status: 400,
      code: "malformed_request",
    });
    const { key } = await makeWorkspace();
    expect(await refusalOf(await send("GET", "/v1/endpoints/gated/releases/2/logs", { key }))).toMatchObject({
      status: 404,
      code: "endpoint_not_found",
    });
  });

  it("takes no word about a replica of another pod's machine", async () => {
    const other = await makeWorkspace();
    const node = await joinNode(other);
    const answer = await send("POST", `/agent/v1/replicas/${replica.replicaId}/verifications`, {
      key: node.session,
      headers: agentHeaders(),
      json: { errand: freshPollId(), release: 1, state: "ready" },
    });
    expect(await refusalOf(answer)).toMatchObject({ status: 404, code: "replica_not_found" });
  });
});
