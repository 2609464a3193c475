import { beforeAll, describe, expect, it } from "vitest";
import { type BuildManifest, buildDigest } from "#contract/build";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { exampleBuild, exampleModel } from "#test/contract/example-build";
import { agentHeaders, joinNode, readyReplica } from "#test/worker/agent-node";
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

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const register = (manifest: unknown, key = workspace.key) =>
  send("POST", "/v1/builds", { key, json: manifest as JsonObject });
/** Another build for each name. */
const buildNamed = (name: string): BuildManifest => ({ ...exampleBuild, baseComfyVersion: name });
const releaseOf = ({ release }: JsonObject): JsonObject => (isJsonObject(release) ? release : {});

describe("a build", () => {
  it("is named by what it is, and registered once", async () => {
    const manifest = buildNamed("once");
    const first = await register(manifest);
    expect(first.status).toBe(201);
    const digest = await buildDigest(manifest);
    expect(await jsonOf(first)).toMatchObject({ digest, comfyui: "once", models: 2, model_bytes: 10, manifest });
    const turned = {
      ...manifest,
      models: manifest.models.toReversed(),
      pipDependencies: manifest.pipDependencies.toReversed(),
    };
    const again = await register(turned);
    expect([again.status, (await jsonOf(again)).digest]).toEqual([200, digest]);
  });

  it("takes the sources that were sent last", async () => {
    const manifest = buildNamed("sources");
    await register(manifest);
    const models = [{ ...exampleModel, sources: ["https://example.com/a.safetensors"] }];
    await register({ ...manifest, models: [...models, ...manifest.models.slice(1)] });
    const kept = await jsonOf(await send("GET", `/v1/builds/${await buildDigest(manifest)}`, { key: workspace.key }));
    expect(kept).toMatchObject({ manifest: { models: [{ sources: ["https://example.com/a.safetensors"] }, {}] } });
  });

  it("is its workspace's own", async () => {
    const manifest = buildNamed("own");
    await register(manifest);
    const path = `/v1/builds/${await buildDigest(manifest)}`;
    expect(await refusalOf(await send("GET", path, { key: stranger.key }))).toMatchObject({
      status: 404,
      code: "build_not_found",
    });
    expect((await jsonOf(await send("GET", "/v1/builds", { key: stranger.key }))).data).toEqual([]);
  });

  it("is deleted when no release uses it, by its own workspace", async () => {
    const digests: string[] = [];
    for (const name of ["unused", "used"]) {
      await register(buildNamed(name));
      digests.push(await buildDigest(buildNamed(name)));
    }
    const [unused = "", used = ""] = digests;
    await makeEndpoint(workspace.key, "user", { build: used });
    const remove = (digest: string, key = workspace.key) => send("DELETE", `/v1/builds/${digest}`, { key });
    expect((await refusalOf(await remove(unused, stranger.key))).code).toBe("build_not_found");
    expect((await remove(unused)).status).toBe(204);
    expect((await refusalOf(await remove(unused))).code).toBe("build_not_found");
    const refused = await remove(used);
    expect(refused.status).toBe(409);
    expect(await jsonOf(refused)).toMatchObject({ code: "build_in_use", detail: expect.stringContaining("user 1") });
    await send("DELETE", "/v1/endpoints/user", { key: workspace.key });
    expect((await remove(used)).status).toBe(204);
  });

  it("is listed newest first, page by page, each once", async () => {
    const own = await makeWorkspace();
    for (const name of ["1", "2", "3"]) await register(buildNamed(name), own.key);
    const names: unknown[] = [];
    let cursor = "";
    do {
      const page = await jsonOf(await send("GET", `/v1/builds?limit=2${cursor}`, { key: own.key }));
      names.push(...(page.data as { comfyui: string }[]).map(({ comfyui }) => comfyui));
      cursor = page.next_cursor === null ? "" : `&cursor=${String(page.next_cursor)}`;
    } while (cursor !== "");
    expect(names.toSorted()).toEqual(["1", "2", "3"]);
  });

  it.each([
    ["a branch for a commit", { comfyCommit: "main" }, "/comfyCommit"],
    ["a model outside its folder", { models: [{ ...exampleModel, filename: "../x" }] }, "/models/0/filename"],
    ["another schema", { schema: "distribution-definition/1" }, "/schema"],
  ])("is refused with %s, and the field is named", async (_, more, path) => {
    const refused = await refusalOf(await register({ ...exampleBuild, ...more }));
    expect(refused).toMatchObject({ status: 422, code: "invalid_body", paths: [path] });
  });
});

describe("a release with a build", () => {
  it("needs one that is registered", async () => {
    const json = { slug: "unbuilt", workflow: textGraph(), build: "0".repeat(64) };
    const refused = await refusalOf(await send("POST", "/v1/endpoints", { key: workspace.key, json }));
    expect(refused).toMatchObject({ status: 404, code: "build_not_found", paths: ["/build"] });
  });

  it("is another release than the same workflow without, and keeps it until told otherwise", async () => {
    const manifest = buildNamed("kept");
    const { digest } = await jsonOf(await register(manifest));
    expect(releaseOf(await makeEndpoint(workspace.key, "built"))).toMatchObject({ number: 1, build: null });
    const patch = async (json: JsonObject) =>
      releaseOf(await jsonOf(await send("PATCH", "/v1/endpoints/built", { key: workspace.key, json })));
    expect(await patch({ build: String(digest) })).toMatchObject({ number: 2, build: digest });
    expect(await patch({ build: String(digest) })).toMatchObject({ number: 2 });
    const changed = { ...textGraph(), "6": { class_type: "CLIPTextEncode", inputs: { text: "new", clip: ["4", 1] } } };
    expect(await patch({ workflow: changed })).toMatchObject({ number: 3, build: digest });
    expect(await patch({ smoke_test: { inputs: { seed: 1 }, outputs: [] } })).toMatchObject({
      number: 4,
      build: digest,
    });
    expect(await patch({ build: null })).toMatchObject({ number: 5, build: null });
    const diff = await jsonOf(await send("GET", "/v1/endpoints/built/releases/2/diff?from=1", { key: workspace.key }));
    expect(diff).toMatchObject({ same: false, build: { from: null, to: digest, custom_nodes: { removed: [] } } });
  });

  it("is given to agents whole, and to operators as one document", async () => {
    const own = await makeWorkspace();
    const manifest = buildNamed("whole");
    const { digest } = await jsonOf(await register(manifest, own.key));
    const smoke_test = { inputs: { seed: 5 }, outputs: ["image"] };
    await makeEndpoint(own.key, "fox", { workflow: textGraph(), build: digest, smoke_test });
    await submitJob(own.key, "fox");
    const { node, replicaId } = await readyReplica(await joinNode(own));
    const path = `/agent/v1/replicas/${replicaId}/release?release=1`;
    const given = await jsonOf(await send("GET", path, { key: node.session, headers: agentHeaders() }));
    expect(given).toMatchObject({ build: { digest, manifest }, smoke_test });
    const document = await jsonOf(await send("GET", "/v1/endpoints/fox/releases/1/standalone", { key: own.key }));
    expect(document).toMatchObject({ build: manifest, smokeTest: smoke_test, workflow: given.graph });
    await makeEndpoint(own.key, "plain");
    expect(
      await refusalOf(await send("GET", "/v1/endpoints/plain/releases/1/standalone", { key: own.key })),
    ).toMatchObject({ status: 404, code: "build_not_found" });
  });
});
