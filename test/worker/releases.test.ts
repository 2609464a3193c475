import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { RELEASES_PER_ENDPOINT_MAX } from "#contract/limits";
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
import { ACTIVATIONS_KEPT_MAX } from "#worker/catalog/releases";
import { packSource, unpackSource } from "#worker/endpoints/release-source";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const call = (method: string, path: string, json?: unknown, key = workspace.key) =>
  send(method, `/v1/endpoints/${path}`, { key, ...(json === undefined ? {} : { json }) });
const numberOf = (endpoint: JsonObject): unknown => (isJsonObject(endpoint.release) ? endpoint.release.number : null);
/** The usual graph with another prompt: another release. */
const graphSaying = (prompt: string): JsonObject => ({
  ...textGraph(),
  "6": { class_type: "CLIPTextEncode", inputs: { text: prompt, clip: ["4", 1] } },
});
const deploy = async (slug: string, prompt: string, more: JsonObject = {}): Promise<JsonObject> =>
  jsonOf(await call("PATCH", slug, { workflow: graphSaying(prompt), ...more }));
const activate = async (slug: string, number: number) =>
  numberOf(await jsonOf(await call("POST", `${slug}/releases/${number}/activate`)));
const rollback = async (slug: string, body: JsonObject = {}) =>
  numberOf(await jsonOf(await call("POST", `${slug}/rollback`, body)));

/** An endpoint with releases 1 … count, the last one active. */
async function withReleases(slug: string, count: number): Promise<void> {
  await makeEndpoint(workspace.key, slug);
  for (let number = 2; number <= count; number += 1) await deploy(slug, `number ${number}`);
}

describe("the releases of an endpoint", () => {
  it("are listed newest first, page by page", async () => {
    await withReleases("listed", 3);
    const first = await jsonOf(await call("GET", "listed/releases?limit=2"));
    expect(first.data).toMatchObject([
      { number: 3, active: true },
      { number: 2, active: false },
    ]);
    const rest = await jsonOf(await call("GET", `listed/releases?limit=2&cursor=${String(first.next_cursor)}`));
    expect(rest).toMatchObject({ data: [{ number: 1, active: false }], next_cursor: null });
  });

  it("are shown by number, with their graph only on request", async () => {
    await withReleases("shown", 2);
    const plain = await jsonOf(await call("GET", "shown/releases/1"));
    expect(plain).toMatchObject({ number: 1, active: false, digest: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(plain).not.toHaveProperty("graph");
    const whole = await jsonOf(await call("GET", "shown/releases/2?graph=true"));
    expect(whole).toMatchObject({ graph: { "6": { inputs: { text: "number 2" } } } });
  });

  it("are unknown to strangers, and so are numbers that do not exist", async () => {
    await withReleases("private", 1);
    for (const [method, path] of [
      ["GET", "private/releases"],
      ["GET", "private/releases/1"],
      ["GET", "private/releases/1/diff"],
      ["POST", "private/releases/1/activate"],
    ] as const) {
      const refused = await refusalOf(await call(method, path, undefined, stranger.key));
      expect(refused).toMatchObject({ status: 404, code: "endpoint_not_found" });
    }
    expect(await refusalOf(await call("POST", "private/rollback", {}, stranger.key))).toMatchObject({ status: 404 });
    for (const number of ["2", "0", "abc", "1.5", "99999999999"]) {
      const refused = await refusalOf(await call("GET", `private/releases/${number}`));
      expect(refused).toEqual({ status: 404, code: "release_not_found" });
    }
  });

  it("have a list's cursor of their own", async () => {
    await withReleases("cursor-a", 2);
    await withReleases("cursor-b", 2);
    const { next_cursor: cursor } = await jsonOf(await call("GET", "cursor-a/releases?limit=1"));
    const refused = await refusalOf(await call("GET", `cursor-b/releases?cursor=${String(cursor)}`));
    expect(refused).toMatchObject({ status: 400, code: "invalid_cursor" });
  });

  it("are bounded, and the refusal says by what", async () => {
    const endpoint = await makeEndpoint(workspace.key, "bounded");
    await env.CATALOG.prepare("UPDATE endpoints SET newest_release = ? WHERE id = ?")
      .bind(RELEASES_PER_ENDPOINT_MAX, String(endpoint.id))
      .run();
    const answer = await call("PATCH", "bounded", { workflow: graphSaying("one too many") });
    const body = await jsonOf(answer);
    expect(body).toMatchObject({ status: 409, code: "release_limit" });
    expect(body.detail).toContain(String(RELEASES_PER_ENDPOINT_MAX));
    // Settings can still be changed.
    expect((await call("PATCH", "bounded", { settings: { max_replicas: 2 } })).status).toBe(200);
  });
});

describe("a diff", () => {
  it("names what is added, removed and changed, field by field", async () => {
    await makeEndpoint(workspace.key, "differs");
    const { "7": _negative, ...graph } = graphSaying("a bear");
    const sampler = graph["3"];
    if (!isJsonObject(sampler) || !isJsonObject(sampler.inputs)) throw new Error("the graph has a sampler");
    const workflow = {
      ...graph,
      "3": { ...sampler, inputs: { ...sampler.inputs, negative: ["10", 0], steps: 30 } },
      "10": { class_type: "ConditioningZeroOut", inputs: { conditioning: ["6", 0] } },
    };
    await jsonOf(await call("PATCH", "differs", { workflow, activate: false }));
    const diff = await jsonOf(await call("GET", "differs/releases/2/diff"));
    expect(diff).toMatchObject({
      from: 1,
      to: 2,
      same: false,
      inputs: {
        added: [],
        removed: [{ name: "negative_prompt" }],
        changed: expect.arrayContaining([
          { name: "prompt", fields: [{ field: "default", from: "a fox", to: "a bear" }] },
          { name: "steps", fields: [{ field: "default", from: 20, to: 30 }] },
        ]),
      },
      outputs: { added: [], removed: [], changed: [] },
      nodes: {
        added: [{ node: "10", class_type: "ConditioningZeroOut" }],
        removed: [{ node: "7", class_type: "CLIPTextEncode" }],
      },
      classes: { added: ["ConditioningZeroOut"], removed: [] },
      models: { added: [], removed: [] },
    });
    const back = await jsonOf(await call("GET", "differs/releases/1/diff?from=2"));
    expect(back).toMatchObject({ inputs: { added: [{ name: "negative_prompt" }], removed: [] } });
    expect(await jsonOf(await call("GET", "differs/releases/2/diff?from=2"))).toMatchObject({ same: true });
  });
});

describe("making a release", () => {
  const make = (slug: string, json: JsonObject, headers: Record<string, string> = {}) =>
    send("POST", `/v1/endpoints/${slug}/releases`, { key: workspace.key, json, headers });

  it("answers it, activated or not; the same thing again makes none", async () => {
    await makeEndpoint(workspace.key, "made");
    const first = await make("made", { workflow: graphSaying("a bear") });
    expect(first.status).toBe(201);
    expect(await jsonOf(first)).toMatchObject({ number: 2, active: true, canary: null });
    const same = await make("made", { workflow: graphSaying("a bear") });
    expect([same.status, (await jsonOf(same)).number]).toEqual([200, 2]);
    const candidate = { workflow: graphSaying("a wolf"), activate: false };
    expect(await jsonOf(await make("made", candidate))).toMatchObject({ number: 3, active: false });
    const again = await make("made", candidate);
    expect([again.status, (await jsonOf(again)).number]).toEqual([200, 3]);
    const other = await make("made", { overrides: { inputs: { steps: { maximum: 30 } } } });
    expect(await jsonOf(other)).toMatchObject({ number: 4, active: true });
  });

  it("happens once under one Idempotency-Key", async () => {
    await makeEndpoint(workspace.key, "made-once");
    const body = { workflow: graphSaying("a bear") };
    for (let round = 0; round < 2; round += 1) {
      const answer = await make("made-once", body, { "idempotency-key": "bear" });
      expect([answer.status, (await jsonOf(answer)).number]).toEqual([201, 2]);
    }
    expect(await jsonOf(await call("GET", "made-once"))).toMatchObject({ newest_release: 2 });
  });

  it("needs something to import, of an endpoint of one's own", async () => {
    await makeEndpoint(workspace.key, "made-of-nothing");
    for (const body of [{}, { activate: false }]) {
      expect(await refusalOf(await make("made-of-nothing", body))).toMatchObject({ status: 422, code: "invalid_body" });
    }
    expect(await refusalOf(await make("made-of-nothing", { workflow: {} }))).toMatchObject({
      code: "invalid_workflow",
    });
    const foreign = await call("POST", "made-of-nothing/releases", { workflow: textGraph(2) }, stranger.key);
    expect(await refusalOf(foreign)).toEqual({ status: 404, code: "endpoint_not_found" });
  });
});

describe("importing a release again", () => {
  const namesOf = (endpoint: JsonObject): unknown[] => {
    const { release } = endpoint;
    const inputs = isJsonObject(release) && Array.isArray(release.inputs) ? release.inputs.filter(isJsonObject) : [];
    return inputs.map((input) => input.name);
  };
  const field = { workflowPath: ["6", "inputs", "text"], title: "Subject", valueType: "long-text" };
  const form = { workflows: [{ viewComfyJSON: { inputs: [{ inputs: [field] }] } }] };

  it("keeps what a form said when only overrides change, and goes without it once a workflow comes without one", async () => {
    await makeEndpoint(workspace.key, "formed", { view_comfy: form });
    const renamed = await jsonOf(
      await call("PATCH", "formed", { overrides: { inputs: { subject: { name: "theme" } } } }),
    );
    expect(namesOf(renamed)).toEqual(["theme"]);
    const again = await jsonOf(
      await call("PATCH", "formed", { overrides: { inputs: { subject: { name: "topic" } } } }),
    );
    expect(namesOf(again)).toEqual(["topic"]);
    const without = await jsonOf(await call("PATCH", "formed", { workflow: textGraph(7), overrides: {} }));
    expect(namesOf(without)).toContain("steps");
  });

  it("keeps the editor's document, its app and the classes of nodes that do not run", async () => {
    const nodes = [
      { id: 1, type: "MakesPicture", widgets_values: [5, 6], outputs: [{ name: "image", type: "IMAGE", links: [1] }] },
      { id: 2, type: "SaveImage", widgets_values: ["x"], inputs: [{ name: "images", type: "IMAGE", link: 1 }] },
      { id: 3, type: "NeverRuns", mode: 2, widgets_values: [], inputs: [], outputs: [] },
    ];
    const workflow = {
      nodes,
      links: [[1, 1, 0, 2, 0, "IMAGE"]],
      version: 0.4,
      extra: { linearMode: true, linearData: { inputs: [[1, "amount"]], outputs: [2] } },
    };
    const described = (inputs: JsonObject) => ({ input: { required: inputs }, output: ["IMAGE"], output_node: false });
    const number = ["INT", { default: 1, min: 0, max: 9 }];
    const object_info = {
      MakesPicture: described({ amount: number, other: number }),
      NeverRuns: described({}),
      Unrelated: described({}),
    };
    const made = await makeEndpoint(workspace.key, "app", { workflow, object_info });
    expect(namesOf(made)).toEqual(["amount"]);
    const overrides = { inputs: { amount: { maximum: 7 } } };
    const changed = await jsonOf(await call("PATCH", "app", { overrides }));
    expect(changed).toMatchObject({ release: { number: 2, inputs: [{ name: "amount", maximum: 7 }] } });
    expect(namesOf(changed)).toEqual(["amount"]);
    const stored = await env.CATALOG.prepare("SELECT object_info FROM releases WHERE endpoint_id = ? AND number = 2")
      .bind(String(made.id))
      .first<{ object_info: string }>();
    expect(Object.keys(JSON.parse(stored?.object_info ?? "{}")).sort()).toEqual(["MakesPicture", "NeverRuns"]);
  });

  it("begins with the graph where no source was kept", async () => {
    const endpoint = await makeEndpoint(workspace.key, "from-long-ago", { view_comfy: form });
    await env.CATALOG.prepare("DELETE FROM release_sources WHERE endpoint_id = ?").bind(String(endpoint.id)).run();
    const changed = await jsonOf(
      await call("PATCH", "from-long-ago", { overrides: { inputs: { steps: { maximum: 30 } } } }),
    );
    expect(changed).toMatchObject({ release: { number: 2 } });
    expect(namesOf(changed)).toContain("steps");
  });

  it("keeps sources of megabytes, which take several rows", async () => {
    const noise = Array.from(crypto.getRandomValues(new Uint8Array(40_000)), (byte) =>
      String.fromCharCode(33 + (byte % 90)),
    );
    const incompressible = Array.from({ length: 55 }, (_, index) =>
      noise.map((_, at) => noise[(at * (index * 2 + 1)) % 40_000]).join(""),
    );
    const workflow = {
      nodes: [
        {
          id: 1,
          type: "EmptyImage",
          widgets_values: [64, 64, 1, 0],
          outputs: [{ name: "IMAGE", type: "IMAGE", links: [1] }],
        },
        { id: 2, type: "SaveImage", widgets_values: ["x"], inputs: [{ name: "images", type: "IMAGE", link: 1 }] },
      ],
      links: [[1, 1, 0, 2, 0, "IMAGE"]],
      version: 0.4,
      extra: { notes: incompressible },
    };
    const endpoint = await makeEndpoint(workspace.key, "large-source", { workflow });
    const rows = await env.CATALOG.prepare("SELECT count(*) AS rows FROM release_sources WHERE endpoint_id = ?")
      .bind(String(endpoint.id))
      .first<{ rows: number }>();
    expect(rows?.rows).toBeGreaterThan(1);
    const changed = await jsonOf(
      await call("PATCH", "large-source", { overrides: { inputs: { width: { maximum: 128 } } } }),
    );
    expect(changed).toMatchObject({ release: { number: 2 } });
  });
});

describe("a source as it is kept", () => {
  it.each([
    ["short", "{}", undefined],
    ["long and not ASCII", JSON.stringify({ a: "ü€😀".repeat(50_000) }), { form: 2n ** 63n }],
  ] as const)("comes back as it was: %s", async (_, text, viewComfy) => {
    const packed = await packSource({ text, viewComfy });
    expect(await unpackSource(packed)).toEqual({ text, viewComfy });
    for (const part of packed.parts) expect(part.length).toBeLessThan(1_900_000);
  });

  it("is refused when it is larger than anything that can be sent", async () => {
    await expect(packSource({ text: "x".repeat(17 * 1024 * 1024) })).rejects.toMatchObject({
      code: "invalid_workflow",
    });
  });
});

describe("making a release without activating it", () => {
  it("leaves the active one, its schema and its overrides", async () => {
    await makeEndpoint(workspace.key, "candidate", { overrides: { inputs: { steps: { name: "rounds" } } } });
    const overrides = { inputs: { steps: { name: "passes" } } };
    const made = await deploy("candidate", "a bear", { overrides, activate: false });
    expect(made).toMatchObject({ release: { number: 1 }, newest_release: 2 });
    const job = await submitJob(workspace.key, "candidate", { rounds: 5 });
    expect(job).toMatchObject({ release: 1, inputs: { rounds: 5 } });
    // The same thing again is no other candidate.
    expect(await deploy("candidate", "a bear", { overrides, activate: false })).toMatchObject({ newest_release: 2 });
    // What is imported next starts from the active release's overrides.
    const next = await deploy("candidate", "a wolf");
    expect(next).toMatchObject({ release: { number: 3 }, newest_release: 3 });
    expect(JSON.stringify(next, (_, value) => (typeof value === "bigint" ? String(value) : value))).toContain("rounds");
    expect(await activate("candidate", 2)).toBe(2);
    const after = await deploy("candidate", "an owl");
    expect(JSON.stringify(after, (_, value) => (typeof value === "bigint" ? String(value) : value))).toContain(
      "passes",
    );
  });
});

describe("activating", () => {
  it("has new jobs run on the release, at once, and leaves those accepted before", async () => {
    await withReleases("switch", 2);
    const before = await submitJob(workspace.key, "switch");
    expect(before.release).toBe(2);
    expect(await activate("switch", 1)).toBe(1);
    const after = await submitJob(workspace.key, "switch");
    expect(after.release).toBe(1);
    const again = await jsonOf(await send("GET", `/v1/jobs/${String(before.id)}`, { key: workspace.key }));
    expect(again.release).toBe(2);
  });

  it("is idempotent: the active release again is no change", async () => {
    await withReleases("again", 2);
    const first = await jsonOf(await call("POST", "again/releases/1/activate"));
    const second = await jsonOf(await call("POST", "again/releases/1/activate"));
    expect(second).toEqual(first);
    // Only one activation was noted: a rollback goes to what was before it.
    expect(await rollback("again")).toBe(2);
  });

  it("holds when others change the endpoint at the same time", async () => {
    await withReleases("together", 3);
    const answers = await Promise.all([
      ...[1, 2, 3].map((number) => call("POST", `together/releases/${number}/activate`)),
      ...[5, 6].map((max) => call("PATCH", "together", { settings: { max_replicas: max } })),
    ]);
    for (const answer of answers) expect([200, 503]).toContain(answer.status);
    const endpoint = await jsonOf(await call("GET", "together"));
    const job = await submitJob(workspace.key, "together");
    expect(job.release).toBe(numberOf(endpoint));
    expect(endpoint).toMatchObject({ newest_release: 3 });
  });
});

describe("rolling back", () => {
  it("goes one further back each time, and says when there is no more", async () => {
    await withReleases("back", 3);
    expect(await rollback("back")).toBe(2);
    expect(await rollback("back", { from: 2 })).toBe(1);
    const refused = await refusalOf(await call("POST", "back/rollback", {}));
    expect(refused).toEqual({ status: 409, code: "no_previous_release" });
  });

  it("goes to what was active before, not to the number before", async () => {
    await withReleases("history", 3);
    expect(await activate("history", 1)).toBe(1);
    expect(await rollback("history")).toBe(3);
  });

  it("is refused when the caller sees another release as active", async () => {
    await withReleases("stale", 2);
    const refused = await refusalOf(await call("POST", "stale/rollback", { from: 1 }));
    expect(refused).toEqual({ status: 409, code: "release_not_active" });
  });

  it("happens once under one Idempotency-Key", async () => {
    await withReleases("once", 3);
    const sent = { key: workspace.key, json: {}, headers: { "idempotency-key": "back-once" } };
    for (let round = 0; round < 2; round += 1) {
      const answer = await jsonOf(await send("POST", "/v1/endpoints/once/rollback", sent));
      expect(numberOf(answer)).toBe(2);
    }
  });

  it("is remembered for a bounded number of activations", async () => {
    const endpoint = await makeEndpoint(workspace.key, "bounded-history");
    await deploy("bounded-history", "a bear");
    const rows = Array.from({ length: ACTIVATIONS_KEPT_MAX + 20 }, (_, index) =>
      env.CATALOG.prepare(
        "INSERT INTO activations (endpoint_id, version, release, replaced, cause, at) VALUES (?, ?, 2, 1, 'activate', 1)",
      ).bind(String(endpoint.id), -1 - index),
    );
    await env.CATALOG.batch(rows);
    expect(await activate("bounded-history", 1)).toBe(1);
    const left = await env.CATALOG.prepare(
      "SELECT count(*) AS rows, max(version) AS last FROM activations WHERE endpoint_id = ?",
    )
      .bind(String(endpoint.id))
      .first<{ rows: number; last: number }>();
    expect(left).toEqual({ rows: ACTIVATIONS_KEPT_MAX, last: 3 });
    expect(await rollback("bounded-history")).toBe(2);
  });
});
