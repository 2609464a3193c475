import { beforeAll, describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import {
  joinNode,
  pollReplica,
  putOutput,
  readyReplica,
  sendLease,
  type TestReplica,
  takeLease,
} from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";

describe("a job from its submit to its download", () => {
  const picture = png(64, 64);
  let workspace: TestWorkspace;
  let stranger: TestWorkspace;
  let replica: TestReplica;
  let lease: Lease;
  let job: JsonObject;
  let entry: JsonObject;

  beforeAll(async () => {
    workspace = await makeWorkspace();
    stranger = await makeWorkspace();
    await makeEndpoint(workspace.key, "fox");
    job = await submitJob(workspace.key, "fox", { prompt: "a fox in the snow" });
    const node = await joinNode(workspace);
    replica = await readyReplica(node);
    lease = await takeLease(replica);
  });

  it("is queued with normalised inputs and a seed that was drawn", () => {
    expect(job).toMatchObject({ state: "queued", endpoint: "fox", release: 1, attempt: 0, outputs: [] });
    expect(job.inputs).toMatchObject({ prompt: "a fox in the snow", width: 512 });
    expect(isJsonObject(job.inputs) && job.inputs.seed).toBeTypeOf("number");
  });

  it("is leased once, with its inputs as exact text", async () => {
    expect(lease).toMatchObject({ job_id: job.id, attempt: 1, release: 1 });
    expect(JSON.parse(lease.inputs)).toMatchObject({ prompt: "a fox in the snow" });
    expect((await pollReplica(replica)).lease === null || (await pollReplica(replica)).lease?.job_id === job.id).toBe(
      true,
    );
  });

  it("shows progress while it runs", async () => {
    const answer = await sendLease(replica, lease, "POST", "progress", {
      json: { phase: "executing", progress: { fraction: 0.5, nodes_done: 1, nodes_total: 2 } },
    });
    expect(await jsonOf(answer)).toMatchObject({ cancel: false });
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(job.id)}`, { key: workspace.key }));
    expect(shown).toMatchObject({ state: "running", phase: "executing", progress: { fraction: 0.5 } });
  });

  it("refuses a manifest whose output is not stored", async () => {
    const missing = {
      index: 5,
      name: "x.png",
      output: "image",
      kind: "image",
      filename: "x.png",
      content_type: "image/png",
    };
    const answer = await sendLease(replica, lease, "POST", "complete", {
      json: { outputs: [{ ...missing, size: 3, sha256: "0".repeat(64) }], phases: [] },
    });
    expect(await refusalOf(answer)).toEqual({ status: 409, code: "output_missing" });
  });

  it("takes an output, the same one twice, and no other in its place", async () => {
    const first = await putOutput(replica, lease, 0, picture);
    expect(first.answer.status).toBe(204);
    entry = first.entry;
    expect((await putOutput(replica, lease, 0, picture)).answer.status).toBe(204);
    const other = await putOutput(replica, lease, 0, png(32, 32));
    expect(await refusalOf(other.answer)).toEqual({ status: 409, code: "output_conflict" });
  });

  it("refuses a manifest with another hash than what is stored", async () => {
    const answer = await sendLease(replica, lease, "POST", "complete", {
      json: { outputs: [{ ...entry, sha256: "0".repeat(64) }], phases: [] },
    });
    expect(await refusalOf(answer)).toEqual({ status: 409, code: "output_conflict" });
  });

  it("succeeds with its outputs, and says so again when asked again", async () => {
    const complete = () => sendLease(replica, lease, "POST", "complete", { json: { outputs: [entry], phases: [] } });
    expect(await jsonOf(await complete())).toEqual({ next: null });
    expect((await complete()).status).toBe(200);
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(job.id)}`, { key: workspace.key }));
    expect(shown).toMatchObject({
      state: "succeeded",
      error: null,
      outputs: [{ name: "image-0.png", size: picture.byteLength }],
    });
  });

  it("refuses messages about a lease that is over", async () => {
    const late = await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
    expect([200, 409]).toContain(late.status);
    if (late.status === 200) expect(await jsonOf(late)).toMatchObject({ cancel: true });
  });

  it("downloads with a key, and without one by its signed link", async () => {
    const withKey = await send("GET", `/v1/jobs/${String(job.id)}/outputs/image-0.png`, { key: workspace.key });
    expect(new Uint8Array(await withKey.arrayBuffer())).toEqual(picture);
    expect(withKey.headers.get("access-control-allow-origin")).toBeNull();
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(job.id)}`, { key: workspace.key }));
    const [output] = Array.isArray(shown.outputs) ? shown.outputs : [];
    const link = await send("GET", String(isJsonObject(output) ? output.url : ""));
    expect(new Uint8Array(await link.arrayBuffer())).toEqual(picture);
    expect(link.headers.get("access-control-allow-origin")).toBe("*");
  });

  it("is unknown to another workspace, word for word", async () => {
    const foreign = await send("GET", `/v1/jobs/${String(job.id)}`, { key: stranger.key });
    const invented = await send("GET", "/v1/jobs/job_0dpx4n3m8k7q2wz6tgr1vyc5ha", { key: stranger.key });
    expect(foreign.status).toBe(404);
    const words = ({ request_id: _differs, ...rest }: JsonObject) => rest;
    expect(words(await jsonOf(foreign))).toEqual(words(await jsonOf(invented)));
    expect((await send("GET", `/v1/jobs/${String(job.id)}/outputs/image-0.png`, { key: stranger.key })).status).toBe(
      404,
    );
    expect((await send("POST", `/v1/jobs/${String(job.id)}/cancel`, { key: stranger.key })).status).toBe(404);
    expect((await send("GET", `/v1/jobs/${String(job.id)}/events`, { key: stranger.key })).status).toBe(404);
  });
});
