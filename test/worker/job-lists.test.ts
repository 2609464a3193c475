import { beforeAll, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { joinNode, readyReplica, sendLease, takeLease } from "#test/worker/agent-node";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
} from "#test/worker/workspace";

let own: TestWorkspace;
const jobs: Record<string, JsonObject> = {};
beforeAll(async () => {
  own = await makeWorkspace();
  for (const slug of ["a", "b"]) await makeEndpoint(own.key, slug);
  const submit = async (slug: string, json: unknown, key = own.key) =>
    jsonOf(await send("POST", `/v1/endpoints/${slug}/jobs`, { key, json }));
  jobs.failed = await submitJob(own.key, "a");
  const replica = await readyReplica(await joinNode(own));
  const lease = await takeLease(replica);
  await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
  const error = { code: "missing_model", message: "x" };
  await sendLease(replica, lease, "POST", "fail", { json: { error, phases: [] } });
  jobs.batchLane = await submit("b", { lane: "batch", tags: ["x"] });
  const made = await jsonOf(await send("POST", "/v1/keys", { key: own.key, json: { name: "other", scopes: ["run"] } }));
  jobs.otherKey = await submit("b", { tags: ["x"] }, String(made.key));
  jobs.canceled = await submit("b", {});
  await send("POST", `/v1/jobs/${String(jobs.canceled.id)}/cancel`, { key: own.key });
});

const list = async (query: string) => {
  const page = await jsonOf(await send("GET", `/v1/jobs${query}`, { key: own.key }));
  return Array.isArray(page.data) ? page.data.filter(isJsonObject).map(({ id }) => id) : [];
};
const named = (...names: string[]) => names.map((name) => jobs[name]?.id);

describe("a list of jobs", () => {
  it("holds those that fit all filters, newest first", async () => {
    expect(await list("")).toEqual(named("canceled", "otherKey", "batchLane", "failed"));
    expect(await list("?lane=batch")).toEqual(named("batchLane"));
    expect(await list("?tag=x")).toEqual(named("otherKey", "batchLane"));
    expect(await list("?tag=x&lane=interactive")).toEqual(named("otherKey"));
    expect(await list(`?key_id=${String(jobs.otherKey?.key_id)}`)).toEqual(named("otherKey"));
    expect(await list("?error_code=missing_model")).toEqual(named("failed"));
    expect(await list("?error_code=out_of_memory")).toEqual([]);
    expect(await list("?state=canceled&endpoint=b")).toEqual(named("canceled"));
    expect(await list("?state=canceled&endpoint=a")).toEqual([]);
  });

  it("is cut at times, the first inclusive, the second exclusive", async () => {
    const at = String(jobs.batchLane?.created_at);
    const after = await list(`?created_after=${at}`);
    expect(after).toEqual(expect.arrayContaining(named("canceled", "otherKey", "batchLane")));
    const before = await list(`?created_before=${at}`);
    expect(before).toContain(jobs.failed?.id);
    expect(before).not.toContain(jobs.batchLane?.id);
    expect(await list(`?created_after=${at}&created_before=${at}`)).toEqual([]);
    expect(await list("?created_before=2026-01-01T00:00:00%2B02:00")).toEqual([]);
  });

  it("goes on only with the filters it began with, however the endpoint is named", async () => {
    const page = await jsonOf(await send("GET", "/v1/jobs?endpoint=b&tag=x&limit=1", { key: own.key }));
    const cursor = String(page.next_cursor);
    const endpointId = String(jobs.otherKey?.endpoint_id);
    expect(await list(`?endpoint=${endpointId}&tag=x&limit=5&cursor=${cursor}`)).toEqual(named("batchLane"));
    for (const query of ["?tag=x", "?endpoint=b", "?endpoint=b&tag=x&lane=batch", "?endpoint=a&tag=x"]) {
      const answer = await send("GET", `/v1/jobs${query}&cursor=${cursor}`, { key: own.key });
      expect(await refusalOf(answer)).toEqual({ status: 400, code: "invalid_cursor" });
    }
  });

  it.each([
    ["state=dead", "/state"],
    ["lane=fast", "/lane"],
    ["key_id=key_1", "/key_id"],
    ["batch=batch_1", "/batch"],
    ["error_code=bad_luck", "/error_code"],
    ["created_after=2026-01-01", "/created_after"],
    [`tag=${"x".repeat(257)}`, "/tag"],
    ["owner=me", "/owner"],
  ])("refuses ?%s", async (query, path) => {
    const answer = await send("GET", `/v1/jobs?${query}`, { key: own.key });
    expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_query", paths: [path] });
  });
});

describe("a job's own webhook", () => {
  it("is kept with it, with the events it is told of", async () => {
    const submit = async (webhook: unknown) =>
      jsonOf(await send("POST", "/v1/endpoints/b/jobs", { key: own.key, json: { webhook } }));
    expect(await submit({ url: "https://hooks.pilotlight-test.com/x" })).toMatchObject({
      webhook: {
        url: "https://hooks.pilotlight-test.com/x",
        events: ["job.succeeded", "job.failed", "job.canceled", "job.expired"],
      },
    });
    const events = ["job.started", "job.started"];
    expect(await submit({ url: "https://hooks.pilotlight-test.com/x", events })).toMatchObject({
      webhook: { events: ["job.started"] },
    });
    expect(
      (await jsonOf(await send("GET", `/v1/jobs/${String(jobs.failed?.id)}`, { key: own.key }))).webhook,
    ).toBeNull();
  });
});
