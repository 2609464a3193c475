import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { EndpointId, makeId } from "#contract/ids";
import { BATCH_TARGET_WAIT_S_DEFAULT, ENDPOINTS_PER_WORKSPACE_MAX } from "#contract/limits";
import { dataUri, pngWith, webpWith, zipWith } from "#test/worker/workflow-files";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  ORIGIN,
  refusalOf,
  scaleGraph,
  send,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";
import { findEndpointCached, selectEndpoints } from "#worker/catalog/endpoints";
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const create = (json: Record<string, unknown>, key = workspace.key) => send("POST", "/v1/endpoints", { key, json });
const inputsOf = (endpoint: JsonObject): JsonObject[] => {
  const { release } = endpoint;
  return isJsonObject(release) && Array.isArray(release.inputs) ? release.inputs.filter(isJsonObject) : [];
};

describe("creating an endpoint", () => {
  it("answers it with the inputs found in the graph", async () => {
    const endpoint = await jsonOf(await create({ slug: "fox", name: "Fox maker", workflow: textGraph() }));
    expect(endpoint).toMatchObject({
      slug: "fox",
      name: "Fox maker",
      pod_id: workspace.podId,
      settings: { min_replicas: 0, max_replicas: 1 },
      release: { number: 1, classes: expect.arrayContaining(["KSampler"]) },
      urls: { self: `${ORIGIN}/v1/endpoints/fox` },
    });
    const names = inputsOf(endpoint).map((input) => input.name);
    expect(names).toEqual(expect.arrayContaining(["prompt", "seed", "steps", "width", "height"]));
  });

  it("keeps every digit of a seed, from an object and from text", async () => {
    for (const [slug, workflow] of [
      ["exact-object", textGraph(18446744073709551615n)],
      ["exact-text", JSON.stringify(textGraph(0)).replace('"seed":0', '"seed":18446744073709551615')],
    ] as const) {
      const endpoint = await makeEndpoint(workspace.key, slug, { workflow });
      const seed = inputsOf(endpoint).find((input) => input.name === "seed");
      expect(seed?.maximum).toBe(18446744073709551615n);
      const stored = await env.CATALOG.prepare("SELECT graph FROM releases WHERE endpoint_id = ?")
        .bind(String(endpoint.id))
        .first<{ graph: string }>();
      expect(stored?.graph).toContain("18446744073709551615");
    }
  });

  it("tells what is wrong with a workflow", async () => {
    const nodes = [
      { id: 1, type: "SomebodysNode", widgets_values: [5, 6], outputs: [{ name: "image", type: "IMAGE", links: [1] }] },
      { id: 2, type: "SaveImage", widgets_values: ["x"], inputs: [{ name: "images", type: "IMAGE", link: 1 }] },
    ];
    const links = [[1, 1, 0, 2, 0, "IMAGE"]];
    const ui = await create({ slug: "ui", workflow: { nodes, links, version: 0.4 } });
    expect(await refusalOf(ui)).toMatchObject({ status: 422, code: "workflow_format_ui" });
    for (const workflow of [
      {},
      "not json",
      "data:image/png;base64,AAAA",
      "data:text/plain,hi",
      { "1": { inputs: {} } },
    ]) {
      const refusal = await refusalOf(await create({ slug: "broken", workflow }));
      expect(refusal).toMatchObject({ status: 422, code: "invalid_workflow" });
    }
  });

  it("reads the files that carry a workflow", async () => {
    const graph = JSON.stringify(textGraph());
    for (const [slug, workflow] of [
      ["from-png", dataUri("image/png", pngWith("prompt", graph))],
      ["from-webp", dataUri("image/webp", webpWith(`prompt:${graph}`))],
      ["from-zip", dataUri("application/zip", await zipWith("workflow_api.json", graph))],
      ["from-windows", dataUri("application/x-zip-compressed", await zipWith("a.json", graph))],
    ] as const) {
      const endpoint = await makeEndpoint(workspace.key, slug, { workflow });
      expect(inputsOf(endpoint).map((input) => input.name)).toContain("prompt");
    }
  });

  it("takes a ViewComfy form, beside the graph or around it, and again with a PATCH", async () => {
    const field = { workflowPath: ["6", "inputs", "text"], title: "Subject", valueType: "long-text" };
    const viewComfyJSON = { inputs: [{ inputs: [field] }] };
    const form = { workflows: [{ viewComfyJSON }] };
    const beside = await makeEndpoint(workspace.key, "form-beside", { workflow: textGraph(), view_comfy: form });
    expect(inputsOf(beside)).toMatchObject([{ name: "subject", title: "Subject" }]);
    const whole = { workflows: [{ viewComfyJSON, workflowApiJSON: textGraph() }] };
    const around = await makeEndpoint(workspace.key, "form-around", { workflow: whole });
    expect(inputsOf(around).map((input) => input.name)).toEqual(["subject"]);
    const renamed = {
      ...form,
      workflows: [{ viewComfyJSON: { inputs: [{ inputs: [{ ...field, title: "Theme" }] }] } }],
    };
    const patched = await send("PATCH", "/v1/endpoints/form-beside", {
      key: workspace.key,
      json: { view_comfy: renamed },
    });
    // A place that had a name keeps it; its title is the new form's.
    expect(inputsOf(await jsonOf(patched))).toMatchObject([{ name: "subject", title: "Theme" }]);
  });

  it("says why a file gives no workflow", async () => {
    const archive = await zipWith("workflow_api.json", JSON.stringify(textGraph()));
    for (const [workflow, reason] of [
      [dataUri("application/zip", await zipWith("a.txt", "x")), "holds no workflow"],
      [dataUri("application/zip", archive.slice(0, -1)), "cut off"],
      [dataUri("image/webp", webpWith("other:x")), "holds no workflow"],
      [dataUri("image/png", pngWith("parameters", "a fox")), "holds no workflow"],
      [dataUri("image/jpeg", new Uint8Array([0xff, 0xd8])), "data:image/png;base64"],
    ] as const) {
      const refusal = await jsonOf(await create({ slug: "broken", workflow }));
      expect(refusal).toMatchObject({ status: 422, code: "invalid_workflow", detail: expect.stringContaining(reason) });
    }
  });

  it("refuses a data URI of millions of parameters", async () => {
    const answer = await create({ slug: "endless", workflow: `data:${";".repeat(4_100_000)}` });
    expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_workflow", paths: ["/workflow"] });
  });

  it("refuses overrides that no row holds", async () => {
    for (const override of [
      { hidden: true, default: "x".repeat(600_000) },
      { choices: Array.from({ length: 1_000 }, () => "x".repeat(600)) },
    ]) {
      const answer = await create({
        slug: "large",
        workflow: textGraph(),
        overrides: { inputs: { prompt: override } },
      });
      expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_body", paths: ["/overrides"] });
    }
  });

  it("can be read again, whatever Python wrote into the graph", async () => {
    const workflow = stringifyExactJson(scaleGraph()).replace('"nearest-exact"', "Infinity");
    expect((await create({ slug: "infinite", workflow })).status).toBe(201);
    const read = await send("GET", "/v1/endpoints/infinite", { key: workspace.key });
    expect(inputsOf(await jsonOf(read)).map((input) => input.name)).not.toContain("upscale_method");
  });

  it("refuses fields that mean nothing", async () => {
    const answer = await create({
      slug: "Bad Slug",
      workflow: textGraph(),
      settings: { min_replicas: -1, replicas: 3 },
      id: "ep_1",
    });
    const refusal = await refusalOf(answer);
    expect(refusal).toMatchObject({ status: 422, code: "invalid_body" });
    expect(refusal.paths?.toSorted()).toEqual(["/id", "/settings/min_replicas", "/settings/replicas", "/slug"]);
    const floor = await create({
      slug: "floor",
      workflow: textGraph(),
      settings: { min_replicas: 3, max_replicas: 2 },
    });
    expect(await refusalOf(floor)).toMatchObject({ status: 422, paths: ["/settings/min_replicas"] });
    const info = await create({ slug: "info", workflow: textGraph(), object_info: { KSampler: 1, X: { input: [] } } });
    expect(await refusalOf(info)).toMatchObject({ status: 422, paths: ["/object_info/KSampler", "/object_info/X"] });
  });

  it("refuses a name that is taken, also when two come at once", async () => {
    await makeEndpoint(workspace.key, "taken");
    expect(await refusalOf(await create({ slug: "taken", workflow: textGraph() }))).toEqual({
      status: 409,
      code: "slug_taken",
    });
    const answers = await Promise.all([1, 2, 3, 4].map(() => create({ slug: "race", workflow: textGraph() })));
    expect(answers.map((answer) => answer.status).toSorted()).toEqual([201, 409, 409, 409]);
  });

  it("refuses a pod that is not the workspace's", async () => {
    const answer = await create({ slug: "pod", workflow: textGraph(), pod_id: stranger.podId });
    expect(await refusalOf(answer)).toEqual({ status: 404, code: "pod_not_found" });
  });

  it("refuses one more than a workspace may have", async () => {
    const { key, workspaceId, podId } = await makeWorkspace();
    await makeEndpoint(key, "first");
    const copy = env.CATALOG.prepare(
      "INSERT INTO endpoints (id, key, workspace_id, pod_id, slug, name, settings, overrides, active_release, version, applied_version, created_at, updated_at, deleted_at) SELECT ?, ?, workspace_id, pod_id, ?, name, settings, overrides, active_release, version, applied_version, created_at, updated_at, deleted_at FROM endpoints WHERE workspace_id = ? AND pod_id = ? AND slug = 'first'",
    );
    const rows = Array.from({ length: ENDPOINTS_PER_WORKSPACE_MAX - 1 }, (_, index) => {
      const id = makeId(EndpointId, "ep", Date.now(), randomBytes);
      return copy.bind(id, `k${String(index).padStart(7, "0")}`, `slug-${index}`, workspaceId, podId);
    });
    await env.CATALOG.batch(rows);
    const answer = await create({ slug: "one-more", workflow: textGraph() }, key);
    expect(await refusalOf(answer)).toEqual({ status: 409, code: "endpoint_limit" });
  });
});

describe("an endpoint", () => {
  it("is found by slug and by id, and by no stranger", async () => {
    const endpoint = await makeEndpoint(workspace.key, "found");
    for (const name of ["found", String(endpoint.id)]) {
      const answer = await send("GET", `/v1/endpoints/${name}`, { key: workspace.key });
      expect((await jsonOf(answer)).id).toBe(endpoint.id);
      for (const [method, path, json] of [
        ["GET", `/v1/endpoints/${name}`],
        ["GET", `/v1/endpoints/${name}/schema`],
        ["GET", `/v1/endpoints/${name}/queue`],
        ["GET", `/v1/endpoints/${name}/replicas`],
        ["PATCH", `/v1/endpoints/${name}`, {}],
        ["DELETE", `/v1/endpoints/${name}`],
        ["POST", `/v1/endpoints/${name}/jobs`, {}],
        ["GET", `/v1/jobs?endpoint=${name}`],
      ] as const) {
        const foreign = await send(method, path, { key: stranger.key, ...(json === undefined ? {} : { json }) });
        expect(await refusalOf(foreign)).toEqual({ status: 404, code: "endpoint_not_found" });
      }
    }
  });

  it("shows its JSON Schema", async () => {
    await makeEndpoint(workspace.key, "schema");
    const schema = await jsonOf(await send("GET", "/v1/endpoints/schema/schema", { key: workspace.key }));
    expect(schema).toMatchObject({
      endpoint: "schema",
      release: 1,
      inputs: { type: "object", properties: { prompt: { type: "string" } } },
      outputs: { $schema: expect.any(String) },
    });
  });

  it("changes its settings and keeps the others", async () => {
    await makeEndpoint(workspace.key, "change", { settings: { max_replicas: 3 } });
    const patch = (json: unknown) => send("PATCH", "/v1/endpoints/change", { key: workspace.key, json });
    const changed = await jsonOf(await patch({ name: "New", settings: { min_replicas: 2 } }));
    expect(changed).toMatchObject({
      name: "New",
      settings: { min_replicas: 2, max_replicas: 3 },
      release: { number: 1 },
    });
    expect(await refusalOf(await patch({ settings: { min_replicas: 4 } }))).toMatchObject({ status: 422 });
    expect(await refusalOf(await patch({ slug: "other" }))).toMatchObject({ status: 422, paths: ["/slug"] });
  });

  it("can be read when it was made before some of the settings there are now", async () => {
    const endpoint = await makeEndpoint(workspace.key, "from-before", {
      settings: { max_replicas: 3, policy: "predictive", batch_target_wait_s: BATCH_TARGET_WAIT_S_DEFAULT },
    });
    await env.CATALOG.prepare("UPDATE endpoints SET settings = ? WHERE id = ?")
      .bind(JSON.stringify({ max_replicas: 3 }), String(endpoint.id))
      .run();
    const read = await jsonOf(await send("GET", "/v1/endpoints/from-before", { key: workspace.key }));
    expect(read.settings).toEqual(endpoint.settings);
  });

  it("can be read again when a bound is a double beyond 2^53", async () => {
    const workflow = {
      "1": { class_type: "EmptyAudio", inputs: { duration: 1.5, sample_rate: 44100, channels: 2 } },
      "2": { class_type: "SaveAudio", inputs: { audio: ["1", 0], filename_prefix: "sound" } },
    };
    await makeEndpoint(workspace.key, "sound", { workflow });
    const endpoint = await jsonOf(await send("GET", "/v1/endpoints/sound", { key: workspace.key }));
    expect(inputsOf(endpoint).find((input) => input.name === "duration")?.maximum).toBe(2 ** 64 - 2 ** 11);
    expect((await send("POST", "/v1/endpoints/sound/jobs", { key: workspace.key, json: {} })).status).toBe(202);
  });

  it("keeps its release when the same workflow comes again", async () => {
    await makeEndpoint(workspace.key, "repeated");
    const patch = async (json: unknown) =>
      jsonOf(await send("PATCH", "/v1/endpoints/repeated", { key: workspace.key, json }));
    expect(await patch({ workflow: scaleGraph() })).toMatchObject({ release: { number: 2 } });
    expect(await patch({ workflow: scaleGraph(), name: "Again" })).toMatchObject({
      name: "Again",
      release: { number: 2 },
    });
  });

  it("gets a new release with a new workflow or other overrides", async () => {
    await makeEndpoint(workspace.key, "release");
    const patch = async (json: unknown) =>
      jsonOf(await send("PATCH", "/v1/endpoints/release", { key: workspace.key, json }));
    expect(await patch({ workflow: scaleGraph() })).toMatchObject({ release: { number: 2 } });
    const renamed = await patch({ workflow: textGraph(), overrides: { inputs: { prompt: { name: "wish" } } } });
    expect(inputsOf(renamed).map((input) => input.name)).toContain("wish");
    const again = await patch({ overrides: { inputs: { steps: { maximum: 30 } } } });
    expect(again).toMatchObject({ release: { number: 4 } });
  });

  it("takes changes that come at once one after the other", async () => {
    await makeEndpoint(workspace.key, "busy");
    const answers = await Promise.all(
      [{ workflow: textGraph(2) }, { workflow: textGraph(3) }, { name: "Busy" }].map((json) =>
        send("PATCH", "/v1/endpoints/busy", { key: workspace.key, json }),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200]);
    const now = await jsonOf(await send("GET", "/v1/endpoints/busy", { key: workspace.key }));
    expect(now).toMatchObject({ name: "Busy", release: { number: 3 } });
    const releases = await env.CATALOG.prepare("SELECT number FROM releases WHERE endpoint_id = ? ORDER BY number")
      .bind(now.id)
      .all();
    expect(releases.results.map((row) => row.number)).toEqual([1, 2, 3]);
  });

  it("is gone after it was deleted, and its name is free", async () => {
    await makeEndpoint(workspace.key, "gone");
    expect((await send("DELETE", "/v1/endpoints/gone", { key: workspace.key })).status).toBe(204);
    for (const method of ["GET", "DELETE"]) {
      expect((await send(method, "/v1/endpoints/gone", { key: workspace.key })).status).toBe(404);
    }
    const submit = await send("POST", "/v1/endpoints/gone/jobs", { key: workspace.key, json: {} });
    expect(submit.status).toBe(404);
    await makeEndpoint(workspace.key, "gone");
  });

  it("is listed by slug, page by page, deleted ones left out", async () => {
    const { key } = await makeWorkspace();
    for (const slug of ["c", "a", "d", "b"]) await makeEndpoint(key, slug);
    await send("DELETE", "/v1/endpoints/d", { key });
    const first = await jsonOf(await send("GET", "/v1/endpoints?limit=2", { key }));
    const second = await jsonOf(
      await send("GET", `/v1/endpoints?limit=2&cursor=${String(first.next_cursor)}`, { key }),
    );
    const slugs = [first, second].flatMap((page) => (page.data as { slug: string }[]).map((one) => one.slug));
    expect(slugs).toEqual(["a", "b", "c"]);
    expect(second.next_cursor).toBeNull();
  });
});

describe("endpoints in memory", () => {
  it("are held without their graphs, which may take a megabyte each", async () => {
    const own = await makeWorkspace();
    await makeEndpoint(own.key, "fox");
    const cached = await findEndpointCached(env.CATALOG, own.workspaceId, "fox");
    const listed = await selectEndpoints(env.CATALOG, own.workspaceId, undefined, 10);
    for (const found of [cached, ...listed]) {
      expect(found?.release.inputs.length).toBeGreaterThan(0);
      expect(found?.release).not.toHaveProperty("graph");
      expect(found?.release).not.toHaveProperty("objectInfo");
    }
  });
});

describe("pods", () => {
  it("are those of the workspace", async () => {
    const listed = await jsonOf(await send("GET", "/v1/pods", { key: workspace.key }));
    expect(listed.data).toEqual([expect.objectContaining({ id: workspace.podId, name: "default" })]);
    const nodes = await send("GET", `/v1/pods/${workspace.podId}/nodes`, { key: workspace.key });
    expect(await jsonOf(nodes)).toEqual({ data: [] });
    for (const [method, path, json] of [
      ["GET", `/v1/pods/${workspace.podId}/nodes`],
      ["POST", `/v1/pods/${workspace.podId}/join-tokens`, {}],
    ] as const) {
      const foreign = await send(method, path, { key: stranger.key, ...(json === undefined ? {} : { json }) });
      expect(await refusalOf(foreign)).toEqual({ status: 404, code: "pod_not_found" });
    }
  });
});
