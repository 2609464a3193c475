import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { EndpointId, ownerKey } from "#contract/ids";
import { exampleBuild } from "#test/contract/example-build";
import { png } from "#test/worker/pictures";
import { dataUri } from "#test/worker/workflow-files";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  scaleGraph,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
});

const call = (method: string, path: string, json?: unknown) =>
  send(method, `/v1/endpoints/${path}`, { key: workspace.key, ...(json === undefined ? {} : { json }) });
const patch = async (slug: string, json: JsonObject) => jsonOf(await call("PATCH", slug, json));
const canary = async (slug: string, number: number, json: JsonObject) =>
  jsonOf(await call("POST", `${slug}/releases/${number}/canary`, json));

/** An endpoint with release 1 active, and release 2 whose steps have another default and bound. */
async function withCandidate(slug: string): Promise<void> {
  await makeEndpoint(workspace.key, slug);
  const overrides = { inputs: { steps: { default: 8, maximum: 10 } } };
  const made = await patch(slug, { workflow: textGraph(2), overrides, activate: false });
  expect(made).toMatchObject({ release: { number: 1 }, newest_release: 2, canary: null });
}

describe("a canary", () => {
  it("gets new jobs at once, with its own defaults; what it does not take stays with the active release", async () => {
    await withCandidate("tried");
    const set = await canary("tried", 2, { weight: 1 });
    expect(set).toMatchObject({
      release: { number: 1 },
      canary: {
        release: 2,
        weight: 1,
        max_error_rate_increase: 0.05,
        max_latency_ratio: 1.5,
        min_jobs: 20,
        results: { state: "running", reason: null, canary: { succeeded: 0, failed: 0 }, active: { succeeded: 0 } },
      },
    });
    expect(await submitJob(workspace.key, "tried")).toMatchObject({ release: 2, inputs: { steps: 8 } });
    expect(await submitJob(workspace.key, "tried", { steps: 15 })).toMatchObject({ release: 1, inputs: { steps: 15 } });
  });

  it("is shown with its release, in lists without results", async () => {
    await withCandidate("visible");
    await canary("visible", 2, { weight: 0.5, min_jobs: 100 });
    const release = await jsonOf(await call("GET", "visible/releases/2"));
    expect(release).toMatchObject({
      active: false,
      canary: { weight: 0.5, min_jobs: 100, results: { state: "running" } },
    });
    expect(await jsonOf(await call("GET", "visible/releases/1"))).toMatchObject({ canary: null });
    const list = await jsonOf(await call("GET", "visible/releases"));
    expect(list).toMatchObject({ data: [{ canary: { weight: 0.5, results: null } }, { canary: null }] });
  });

  it("is known to the endpoint's object with its build, so that replicas of it can be kept apart", async () => {
    const builds = [exampleBuild, { ...exampleBuild, baseComfyVersion: "0.34.0" }];
    const digests = await Promise.all(
      builds.map(async (json) => (await jsonOf(await send("POST", "/v1/builds", { key: workspace.key, json }))).digest),
    );
    const { id } = await makeEndpoint(workspace.key, "two-builds", { build: digests[0] });
    await patch("two-builds", { build: digests[1] ?? null, activate: false });
    await canary("two-builds", 2, { weight: 0.1 });
    const stub = env.ENDPOINTS.getByName(ownerKey(EndpointId.parse(id)));
    const rows = await runInDurableObject(stub, async (_, { storage }) =>
      storage.sql.exec("SELECT release, build FROM release_builds ORDER BY release").toArray(),
    );
    expect(rows).toEqual(digests.map((build, index) => ({ release: index + 1, build })));
  });

  it("ends with weight 0, and with any activation", async () => {
    await withCandidate("ending");
    await canary("ending", 2, { weight: 1 });
    expect(await canary("ending", 2, { weight: 0 })).toMatchObject({ canary: null });
    expect(await submitJob(workspace.key, "ending")).toMatchObject({ release: 1 });
    await canary("ending", 2, { weight: 1 });
    const promoted = await jsonOf(await call("POST", "ending/releases/2/activate"));
    expect(promoted).toMatchObject({ release: { number: 2 }, canary: null });
    expect(await submitJob(workspace.key, "ending")).toMatchObject({ release: 2, inputs: { steps: 8 } });
    await canary("ending", 1, { weight: 1 });
    expect(await patch("ending", { workflow: textGraph(3) })).toMatchObject({ release: { number: 3 }, canary: null });
  });

  it("outlives a change of settings", async () => {
    await withCandidate("settled");
    const { canary: before } = await canary("settled", 2, { weight: 1 });
    expect(await patch("settled", { settings: { max_replicas: 3 } })).toMatchObject({ canary: { release: 2 } });
    expect((await jsonOf(await call("GET", "settled"))).canary).toEqual(before);
    expect(await submitJob(workspace.key, "settled")).toMatchObject({ release: 2 });
  });

  it("leaves batches and retries with the active release", async () => {
    await withCandidate("batched");
    await canary("batched", 2, { weight: 1 });
    const answer = await send("POST", "/v1/endpoints/batched/batches", {
      key: workspace.key,
      json: { inputs: [{}, {}] },
    });
    const batch = await jsonOf(answer);
    const jobs = await jsonOf(await send("GET", `/v1/jobs?batch=${String(batch.id)}`, { key: workspace.key }));
    expect(jobs).toMatchObject({ data: [{ release: 1 }, { release: 1 }] });
    const tried = await submitJob(workspace.key, "batched");
    const path = `/v1/jobs/${String(tried.id)}`;
    await send("POST", `${path}/cancel`, { key: workspace.key });
    const again = await jsonOf(await send("POST", `${path}/retry`, { key: workspace.key }));
    expect([tried.release, again.release]).toEqual([2, 1]);
  });

  it("gets the files that were sent, which are stored once", async () => {
    await makeEndpoint(workspace.key, "with-file", { workflow: scaleGraph() });
    const { "2": scale, ...rest } = scaleGraph();
    const workflow = {
      ...rest,
      "2": { ...(scale as JsonObject), class_type: "ImageScale" },
      "4": { ...(rest["3"] as JsonObject) },
    };
    expect(await patch("with-file", { workflow, activate: false })).toMatchObject({ newest_release: 2 });
    await canary("with-file", 2, { weight: 1 });
    const job = await submitJob(workspace.key, "with-file", { image: dataUri("image/png", png(4, 4)) });
    expect(job).toMatchObject({ release: 2, inputs: { image: expect.stringMatching(/^file_/) } });
  });

  it("is refused for the active release, one that is not there, and settings out of bounds", async () => {
    await withCandidate("refused");
    const refused = async (number: number, json: JsonObject) =>
      refusalOf(await call("POST", `refused/releases/${number}/canary`, json));
    expect(await refused(1, { weight: 0.1 })).toEqual({ status: 409, code: "release_active" });
    expect(await refused(9, { weight: 0.1 })).toEqual({ status: 404, code: "release_not_found" });
    expect(await refused(2, { weight: 1.5 })).toMatchObject({ status: 422, paths: ["/weight"] });
    expect(await refused(2, { weight: 0.1, max_latency_ratio: 0.5, min_jobs: 0 })).toMatchObject({
      status: 422,
      paths: ["/max_latency_ratio", "/min_jobs"],
    });
  });
});
