import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import {
  exampleFigures,
  exampleNode,
  examplePod,
  examplePodDetail,
  exampleToken,
  NODE_ID,
  POD_ID,
} from "#test/client/example-pod";
import { type Answer, hangUp, json, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

const clientOf = ({ url }: ScriptedServer) => new Pilotlight({ baseUrl: url, token: "pl_x" });
const callsOf = (server: ScriptedServer) => server.seen.map(({ method, url }) => `${method} ${url}`);

describe("pods of the client", () => {
  it("are made under one key, however often the answer gets lost", async () => {
    const server = await scriptedServer(hangUp, json(201, examplePod()));
    expect(await clientOf(server).pods.create({ name: "rack" })).toEqual(examplePod());
    const keys = server.seen.map(({ headers }) => headers["idempotency-key"]);
    expect(keys).toHaveLength(2);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toBeTruthy();
  });

  it("are read with how they stand", async () => {
    const server = await scriptedServer(json(200, examplePodDetail()));
    expect((await clientOf(server).pods.get(POD_ID)).capacity.slots.free).toBe(1);
    expect(callsOf(server)).toEqual([`GET /v1/pods/${POD_ID}`]);
  });

  it("list their tokens page by page", async () => {
    const page = (name: string, next_cursor: string | null) =>
      json(200, { data: [exampleToken({ name })], next_cursor });
    const server = await scriptedServer(page("a", "c1"), page("b", null));
    const names: string[] = [];
    for await (const { name } of clientOf(server).pods.joinTokens(POD_ID)) names.push(name);
    expect(names).toEqual(["a", "b"]);
    expect(callsOf(server)[1]).toBe(`GET /v1/pods/${POD_ID}/join-tokens?cursor=c1`);
  });
});

describe("nodes of the client", () => {
  it.each(["drain", "undrain", "cordon", "uncordon", "trust"] as const)(
    "are told to %s, again when the answer gets lost",
    async (verb) => {
      const server = await scriptedServer(hangUp, json(200, exampleNode()));
      expect(await clientOf(server).nodes[verb](POD_ID, NODE_ID)).toEqual(exampleNode());
      expect(callsOf(server)).toEqual(Array(2).fill(`POST /v1/pods/${POD_ID}/nodes/${NODE_ID}/${verb}`));
    },
  );

  it("are watched until the reader has seen enough, or the signal says so", async () => {
    const look = (busy: number): Answer => json(200, exampleNode({ metrics: exampleFigures(busy) }));
    const server = await scriptedServer(look(1), look(2), look(3));
    const seen: (number | null | undefined)[] = [];
    for await (const { metrics } of clientOf(server).nodes.watch(POD_ID, NODE_ID)) {
      seen.push(metrics?.gpus[0]?.busy_percent);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([1, 2]);
    const stop = new AbortController();
    const watching = clientOf(server).nodes.watch(POD_ID, NODE_ID, { signal: stop.signal });
    await watching.next();
    stop.abort(new Error("enough"));
    await expect(watching.next()).rejects.toThrow("enough");
  });
});

describe("GPU types of the client", () => {
  it("are set by their name", async () => {
    const type = {
      name: "l4",
      title: "L4",
      vram_mb: 24_576,
      price_per_hour: 0.3,
      bandwidth_gb_s: 300,
      suits: "",
      matches: ["L4"],
      own: false,
      changed: ["price_per_hour"],
    };
    const server = await scriptedServer(json(200, type));
    expect(await clientOf(server).gpuTypes.set("l4", { price_per_hour: 0.3 })).toEqual(type);
    expect(server.seen[0]).toMatchObject({ method: "PUT", url: "/v1/gpu-types/l4", body: '{"price_per_hour":0.3}' });
  });
});
