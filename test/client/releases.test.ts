import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import type { EndpointRelease } from "#contract/release";
import { hangUp, json, problem, scriptedServer } from "#test/client/scripted-server";

const clientOf = (url: string) => new Pilotlight({ baseUrl: url, token: "pl_key", retryForMs: 20_000 });
const release = (number: number): Record<keyof EndpointRelease, unknown> => ({
  number,
  endpoint_id: "ep_0dpx4n3m8k7q2wz6tgr1vyc5ha",
  active: number === 2,
  digest: "0".repeat(64),
  inputs: [],
  outputs: [],
  classes: [],
  build: null,
  warnings: [],
  created_at: "2026-01-01T00:00:00.000Z",
  graph: undefined,
  canary: null,
  state: "ready",
  forced: false,
  verification: [],
});

describe("releases", () => {
  it("are listed page by page", async () => {
    const server = await scriptedServer(
      json(200, { data: [release(2)], next_cursor: "c1" }),
      json(200, { data: [release(1)], next_cursor: null }),
    );
    const found: number[] = [];
    for await (const each of clientOf(server.url).releases.list("fox")) found.push(each.number);
    expect(found).toEqual([2, 1]);
    expect(server.seen.map(({ url }) => url)).toEqual([
      "/v1/endpoints/fox/releases",
      "/v1/endpoints/fox/releases?cursor=c1",
    ]);
  });

  it("come with their graph, and are compared, when asked for", async () => {
    const server = await scriptedServer(
      json(200, { ...release(1), graph: { "1": {} } }),
      problem(404, "release_not_found", false),
    );
    const client = clientOf(server.url);
    expect((await client.releases.get("fox", 1, { graph: true })).graph).toEqual({ "1": {} });
    await expect(client.releases.diff("fox", 2, 1)).rejects.toMatchObject({ code: "release_not_found" });
    expect(server.seen.map(({ url }) => url)).toEqual([
      "/v1/endpoints/fox/releases/1?graph=true",
      "/v1/endpoints/fox/releases/2/diff?from=1",
    ]);
  });

  it("are made once, however often the answer is lost", async () => {
    const server = await scriptedServer(hangUp, json(201, release(2)));
    const made = await clientOf(server.url).releases.create("fox", { workflow: "{}", activate: false });
    expect(made.number).toBe(2);
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual(
      Array.from({ length: 2 }, () => "POST /v1/endpoints/fox/releases"),
    );
    expect(new Set(server.seen.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
  });

  it("are rolled back once, however often the answer is lost", async () => {
    const server = await scriptedServer(hangUp, problem(409, "no_previous_release", false));
    await expect(clientOf(server.url).releases.rollback("fox", 3)).rejects.toMatchObject({
      code: "no_previous_release",
    });
    expect(server.seen.map(({ body }) => body)).toEqual(['{"from":3}', '{"from":3}']);
    expect(new Set(server.seen.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
  });
});
