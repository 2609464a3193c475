import { beforeAll, describe, expect, it } from "vitest";
import { DEFAULT_SETTINGS } from "#contract/endpoint";
import type { JsonObject } from "#contract/exact-json";
import { joinNode, readyReplica, sendLease, takeLease } from "#test/worker/agent-node";
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
import { changedSettings } from "#worker/endpoints/settings";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const make = (slug: string, settings: Record<string, unknown> = {}, more: Record<string, unknown> = {}) =>
  makeEndpoint(workspace.key, slug, { workflow: textGraph(1), settings, ...more });
const scalingOf = async (slug: string, query = ""): Promise<JsonObject> => {
  const answer = await send("GET", `/v1/endpoints/${slug}/scaling${query}`, { key: workspace.key });
  expect(answer.status).toBe(200);
  return jsonOf(answer);
};
const patch = (slug: string, json: unknown) => send("PATCH", `/v1/endpoints/${slug}`, { key: workspace.key, json });

describe("how an endpoint scales", () => {
  it("is shown with what it wants, why, and what was decided", async () => {
    await make("fox", { max_replicas: 3, policy: "request_count" });
    expect(await scalingOf("fox")).toMatchObject({
      policy: "request_count",
      wanted: 0,
      floor: 0,
      ceiling: 3,
      replicas: { starting: 0, idle: 0, busy: 0, draining: 0 },
      waiting: { interactive: 0, batch: 0 },
      cold_start_s: null,
      service_s: null,
      warm: null,
      decisions: [],
    });
    await submitJob(workspace.key, "fox", { seed: 1 });
    const waiting = await scalingOf("fox");
    expect(waiting).toMatchObject({ wanted: 1, waiting: { interactive: 1, batch: 0 } });
    const [decided] = waiting.decisions as JsonObject[];
    expect(decided).toMatchObject({ from: 0, to: 1 });
    expect(waiting.reason).toBe(`${String(decided?.reason)}; no machine of the pod takes new work`);
    const replica = await readyReplica(await joinNode(workspace));
    const lease = await takeLease(replica);
    expect(await scalingOf("fox")).toMatchObject({ replicas: { starting: 0, idle: 0, busy: 1, draining: 0 } });
    await sendLease(replica, lease, "POST", "complete", { json: { outputs: [], phases: [] } });
    const after = await scalingOf("fox");
    expect([typeof after.cold_start_s, typeof after.service_s]).toEqual(["number", "number"]);
    expect((await scalingOf("fox", "?limit=1")).decisions).toHaveLength(1);
  });

  it("is nobody else's business", async () => {
    await make("secret");
    for (const [method, path] of [
      ["GET", "scaling"],
      ["POST", "warm"],
      ["DELETE", "warm"],
    ] as const) {
      const answer = await send(method, `/v1/endpoints/secret/${path}`, {
        key: stranger.key,
        ...(method === "POST" ? { json: { replicas: 1, for_s: 60 } } : {}),
      });
      expect(await refusalOf(answer)).toEqual({ status: 404, code: "endpoint_not_found" });
    }
  });
});

describe("replicas kept warm by hand", () => {
  let warmed = 0;

  it("may be asked for until a time", async () => {
    await make("warm-until");
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const wish = { key: workspace.key, json: { replicas: 1, until } };
    const shown = await jsonOf(await send("POST", "/v1/endpoints/warm-until/warm", wish));
    const heldUntil = Date.parse(String((shown.warm as JsonObject).until));
    // Between the Worker's clock and the object's lies the way of the call.
    expect(Math.abs(heldUntil - Date.parse(until))).toBeLessThan(60_000);
  });

  it("are a floor until then, at most as many as there may be, and end by hand", async () => {
    await make("warm", { max_replicas: 2 });
    const before = Date.now();
    const answer = await send("POST", "/v1/endpoints/warm/warm", {
      key: workspace.key,
      json: { replicas: 5, for_s: 7_200 },
    });
    expect(answer.status).toBe(200);
    const warm = await jsonOf(answer);
    expect(warm).toMatchObject({ floor: 2, wanted: 2, warm: { replicas: 5 } });
    const until = Date.parse(String((warm.warm as JsonObject).until));
    expect(until).toBeGreaterThanOrEqual(before + 7_200_000);
    expect(until).toBeLessThanOrEqual(Date.now() + 7_200_000);
    const cooled = await send("DELETE", "/v1/endpoints/warm/warm", { key: workspace.key });
    expect(await jsonOf(cooled)).toMatchObject({ floor: 0, warm: null });
  });

  it.each([
    [{ replicas: 0, for_s: 60 }, "/replicas"],
    [{ replicas: 1, for_s: 8 * 86_400 }, "/for_s"],
    [{ replicas: 1, for_s: 60, until: "2126-11-21T10:00:00Z" }, "/for_s"],
    [{ replicas: 1 }, "/for_s"],
    [{ replicas: 1, until: "2020-11-21T10:00:00Z" }, "/until"],
    [{ replicas: 1, until: "2126-11-21T10:00:00Z" }, "/until"],
    [{ replicas: 1, until: "tomorrow" }, "/until"],
  ])("refuse %j", async (json, path) => {
    warmed += 1;
    const slug = `warm-refused-${warmed}`;
    await make(slug);
    const answer = await send("POST", `/v1/endpoints/${slug}/warm`, { key: workspace.key, json });
    expect(await refusalOf(answer)).toMatchObject({ status: 422, code: "invalid_body", paths: [path] });
  });
});

describe("settings of scaling", () => {
  it("are kept as given", async () => {
    const settings = {
      policy: "queue_delay",
      max_replicas: 4,
      wait_value: 2.5,
      target_p95_wait_s: 12,
      idle_timeout_s: null,
      warm_schedule: [{ days: ["mon"], from: "22:00", to: "06:00", time_zone: "Europe/Berlin", replicas: 2 }],
    };
    expect(await make("tuned", settings)).toMatchObject({ settings });
  });

  it.each([
    [
      { warm_schedule: [{ days: ["mon"], from: "08:00", to: "09:00", time_zone: "Mars/Olympus", replicas: 1 }] },
      "/settings/warm_schedule/0/time_zone",
    ],
    [
      { max_replicas: 2, warm_schedule: [{ days: ["mon"], from: "24:00", to: "00:00", replicas: 1 }] },
      "/settings/warm_schedule/0/from",
    ],
    [
      { max_replicas: 2, warm_schedule: [{ days: ["mon"], from: "08:00", to: "09:00", replicas: 3 }] },
      "/settings/warm_schedule/0/replicas",
    ],
    [{ wait_value: 0 }, "/settings/wait_value"],
  ])("refuse %j", async (settings, path) => {
    const json = { slug: "refused", workflow: textGraph(1), settings };
    const answer = await send("POST", "/v1/endpoints", { key: workspace.key, json });
    expect(await refusalOf(answer)).toMatchObject({ status: 422, paths: [path] });
  });
});

describe("a warm window that never opens", () => {
  const never = { days: ["mon" as const], from: "24:00", to: "00:00", time_zone: "UTC", replicas: 1 };

  it("is refused with what a whole day is, where it is given", async () => {
    const json = { slug: "refused", workflow: textGraph(1), settings: { warm_schedule: [never] } };
    const answer = await jsonOf(await send("POST", "/v1/endpoints", { key: workspace.key, json }));
    expect(answer).toMatchObject({
      detail: "A warm window from 24:00 to 00:00 never opens.",
      errors: [{ reason: "Must be 00:00, and `to` 24:00, for a whole day." }],
    });
  });

  it("is in no other change's way where it was taken before", () => {
    const before = { ...DEFAULT_SETTINGS, max_replicas: 3, warm_schedule: [never] };
    expect(changedSettings(before, { max_replicas: 2 }).max_replicas).toBe(2);
    expect(changedSettings(before, undefined)).toEqual(before);
  });

  it.each(["00:00", "08:00", "24:00"])("is none that begins and ends at %s: it is 24 hours", (time) => {
    const day = { ...never, from: time, to: time };
    expect(changedSettings(DEFAULT_SETTINGS, { warm_schedule: [day] }).warm_schedule).toEqual([day]);
  });
});

describe("the pods of an endpoint", () => {
  const newPod = async (name: string): Promise<string> => {
    const answer = await send("POST", "/v1/pods", { key: workspace.key, json: { name } });
    expect(answer.status).toBe(201);
    return String((await jsonOf(answer)).id);
  };

  it("are the workspace's first one for both lanes, unless they are named", async () => {
    const both = ["interactive", "batch"];
    const made = await make("plain");
    expect([made.pod_id, made.pods]).toEqual([workspace.podId, [{ pod_id: workspace.podId, lanes: both }]]);
    const rack = await newPod("rack");
    const named = await make("named", {}, { pods: [{ pod_id: rack }, { pod_id: workspace.podId, lanes: ["batch"] }] });
    expect([named.pod_id, named.pods]).toEqual([
      rack,
      [
        { pod_id: rack, lanes: both },
        { pod_id: workspace.podId, lanes: ["batch"] },
      ],
    ]);
  });

  it("can be changed, and machines of the new one then run its jobs", async () => {
    await make("moved", { policy: "request_count" });
    const other = await newPod("other");
    const answer = await patch("moved", { pods: [{ pod_id: other }] });
    expect(await jsonOf(answer)).toMatchObject({ pod_id: other });
    await submitJob(workspace.key, "moved", { seed: 1 });
    const replica = await readyReplica(await joinNode({ ...workspace, podId: other as TestWorkspace["podId"] }));
    const lease = await takeLease(replica);
    const done = await sendLease(replica, lease, "POST", "complete", { json: { outputs: [], phases: [] } });
    expect(done.status).toBe(200);
  });

  it("must be the workspace's own, and serve each lane", async () => {
    await make("checked");
    expect(await refusalOf(await patch("checked", { pods: [{ pod_id: stranger.podId }] }))).toMatchObject({
      status: 404,
      code: "pod_not_found",
    });
    const half = await patch("checked", { pods: [{ pod_id: workspace.podId, lanes: ["batch"] }] });
    expect(await refusalOf(half)).toMatchObject({ status: 422, code: "invalid_body", paths: ["/pods"] });
    const twice = { pods: [{ pod_id: workspace.podId }, { pod_id: workspace.podId }] };
    expect(await refusalOf(await patch("checked", twice))).toMatchObject({ status: 422, code: "invalid_body" });
    const json = { slug: "two-ways", workflow: textGraph(1), pod_id: workspace.podId, ...twice };
    expect((await send("POST", "/v1/endpoints", { key: workspace.key, json })).status).toBe(422);
  });
});
