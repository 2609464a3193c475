import { describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { joinNode, readyReplica, sendLease, succeed, takeLease } from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import { jsonOf, makeEndpoint, makeWorkspace, refusalOf, send, submitJob } from "#test/worker/workspace";

const rowsOf = (page: JsonObject): JsonObject[] => (Array.isArray(page.data) ? page.data.filter(isJsonObject) : []);

describe("the usage export", () => {
  it("has a row for each attempt that ended, by endpoint and job, page by page", async () => {
    const own = await makeWorkspace();
    const stranger = await makeWorkspace();
    const get = async (query: string, key = own.key) => jsonOf(await send("GET", `/v1/usage${query}`, { key }));
    const jobs: JsonObject[] = [];
    for (const slug of ["a", "b"]) {
      await makeEndpoint(own.key, slug, { settings: { idle_timeout_s: 1 } });
      await makeEndpoint(own.key, `${slug}-idle`);
      jobs.push(
        await submitJob(own.key, slug),
        await jsonOf(await send("POST", `/v1/endpoints/${slug}/jobs`, { key: own.key, json: { tags: ["t"] } })),
      );
      const replica = await readyReplica(await joinNode(own));
      await succeed(replica, await takeLease(replica), png(8, 8));
      const lease = await takeLease(replica);
      await sendLease(replica, lease, "POST", "progress", { json: { phase: "executing" } });
      const json = { error: { code: "execution_error", message: "x" }, phases: [] };
      await sendLease(replica, lease, "POST", "fail", { json });
    }
    const page = await get("?limit=100");
    const rows = rowsOf(page);
    expect(page.next_cursor).toBeNull();
    expect(rows.map(({ job_id }) => job_id)).toEqual(jobs.map(({ id }) => id));
    expect(rows.map(({ outcome }) => outcome)).toEqual(["completed", "failed", "completed", "failed"]);
    expect(rows[1]).toMatchObject({
      attempt: 1,
      lane: "interactive",
      tags: ["t"],
      release: 1,
      key_id: jobs[1]?.key_id,
    });
    const [row] = rows;
    expect(Date.parse(String(row?.ended_at)) - Date.parse(String(row?.started_at))).toBe(row?.ms);

    const paged: unknown[] = [];
    let cursor: unknown = null;
    for (let pages = 0; pages < 20; pages += 1) {
      const part: JsonObject = await get(cursor === null ? "?limit=1" : `?limit=1&cursor=${String(cursor)}`);
      paged.push(...rowsOf(part).map(({ lease_id }) => lease_id));
      cursor = part.next_cursor ?? null;
      if (cursor === null) break;
    }
    expect(paged).toEqual(rows.map(({ lease_id }) => lease_id));

    const ofOne = await get("?endpoint=b");
    expect(rowsOf(ofOne).map(({ job_id }) => job_id)).toEqual([jobs[2]?.id, jobs[3]?.id]);
    expect(rowsOf(await get("?until=2026-01-01T00:00:00Z"))).toEqual([]);
    expect(rowsOf(await get("?since=2026-01-01T00:00:00%2B01:00"))).toHaveLength(4);
    expect(rowsOf(await get("", stranger.key))).toEqual([]);

    const first = await get("?limit=1");
    for (const query of [
      `?limit=1&endpoint=a&cursor=${String(first.next_cursor)}`,
      `?limit=1&since=2026-01-01T00:00:00Z&cursor=${String(first.next_cursor)}`,
    ]) {
      const answer = await send("GET", `/v1/usage${query}`, { key: own.key });
      expect(await refusalOf(answer)).toEqual({ status: 400, code: "invalid_cursor" });
    }
  });

  it.each([["since=yesterday"], ["since=2026-01-01"], ["limit=0"], ["limit=1e2x"], ["key=x"], ["since=a&since=b"]])(
    "refuses ?%s",
    async (query) => {
      const { key } = await makeWorkspace();
      expect(await refusalOf(await send("GET", `/v1/usage?${query}`, { key }))).toMatchObject({
        status: 422,
        code: "invalid_query",
      });
    },
  );

  it("needs the scope read", async () => {
    const { key } = await makeWorkspace(["deploy"]);
    expect(await refusalOf(await send("GET", "/v1/usage", { key }))).toEqual({ status: 403, code: "missing_scope" });
  });
});
