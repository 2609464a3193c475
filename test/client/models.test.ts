import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import type { Model } from "#contract/model";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { type Answer, hangUp, json, problem, scriptedServer } from "#test/client/scripted-server";

const ID = `mdl_${EXAMPLE_JOB_ID.slice("job_".length)}` as Model["id"];
const bytes = new Uint8Array(Array.from({ length: 10 }, (_, index) => index));
const sha256 = createHash("sha256").update(bytes).digest("hex");
const hashOf = (part: Uint8Array): string => createHash("sha256").update(part).digest("hex");

function example(change: Partial<Model> = {}): Model {
  return {
    id: ID,
    sha256,
    type: "vae",
    filename: "a.safetensors",
    places: [{ type: "vae", filename: "a.safetensors" }],
    size: bytes.byteLength,
    format: null,
    status: "uploading",
    reason: null,
    notice: null,
    bytes_done: 0,
    sources: [],
    upload: { part_bytes: 4, part_count: 3, parts: [] },
    created_at: "2026-11-21T10:00:00.000Z",
    updated_at: "2026-11-21T10:00:00.000Z",
    ...change,
  };
}

const clientOf = (url: string) => new Pilotlight({ baseUrl: url, token: "pl_key", retryForMs: 20_000 });
const stored: Answer = (_, response) => {
  response.writeHead(204).end();
};

describe("uploading a model", () => {
  it("sends the parts that are missing, each with its hash, and completes", async () => {
    const server = await scriptedServer((request, response) => {
      if (request.method === "PUT") return stored(request, response);
      const isBegun = request.url === "/v1/models";
      const model = isBegun
        ? example({ bytes_done: 4, upload: { part_bytes: 4, part_count: 3, parts: [2] } })
        : example({ status: "verifying", upload: null });
      return json(isBegun ? 200 : 202, model)(request, response);
    });
    const heard: number[] = [];
    const model = await clientOf(server.url).models.upload(new Blob([bytes]), {
      sha256,
      type: "vae",
      filename: "a.safetensors",
      onProgress: (done) => heard.push(done),
    });
    expect(model.status).toBe("verifying");
    expect(JSON.parse(server.seen[0]?.body ?? "")).toEqual({
      sha256,
      size: 10,
      type: "vae",
      filename: "a.safetensors",
      allow_unsafe: false,
    });
    const sent = server.seen.filter(({ method }) => method === "PUT");
    expect(sent.map(({ url, headers }) => [url, headers["pilotlight-sha256"]]).toSorted()).toEqual([
      [`/v1/models/${ID}/parts/1`, hashOf(bytes.subarray(0, 4))],
      [`/v1/models/${ID}/parts/3`, hashOf(bytes.subarray(8))],
    ]);
    expect(server.seen.at(-1)?.url).toBe(`/v1/models/${ID}/complete`);
    expect([heard[0], heard.at(-1)]).toEqual([4, 10]);
  });

  it("sends nothing of a model that is there", async () => {
    const server = await scriptedServer(json(200, example({ status: "ready", upload: null })));
    const upload = { sha256, type: "vae", filename: "a.safetensors" };
    expect((await clientOf(server.url).models.upload(new Blob([bytes]), upload)).status).toBe("ready");
    expect(server.seen).toHaveLength(1);
  });

  it("sends a part again whose answer was lost", async () => {
    const server = await scriptedServer(hangUp, problem(503, "unavailable", true), stored);
    await clientOf(server.url).models.putPart(ID, 1, bytes);
    expect(server.seen.map(({ url }) => url)).toEqual(Array(3).fill(`/v1/models/${ID}/parts/1`));
  });
});

describe("waiting for a model", () => {
  it("ends when it is ready", async () => {
    const server = await scriptedServer(
      json(200, example({ status: "importing", upload: null })),
      json(200, example({ status: "ready", format: "safetensors", upload: null })),
    );
    const seen: string[] = [];
    const onProgress = (model: Model) => void seen.push(model.status);
    expect((await clientOf(server.url).models.wait(sha256, { onProgress })).format).toBe("safetensors");
    expect(seen).toEqual(["importing", "ready"]);
  });

  it("throws the reason when it has failed", async () => {
    const server = await scriptedServer(json(200, example({ status: "failed", reason: "It is empty.", upload: null })));
    await expect(clientOf(server.url).models.wait(ID)).rejects.toMatchObject({
      code: "model_failed",
      detail: "a.safetensors: It is empty.",
    });
  });
});

describe("the list of models", () => {
  it("goes on page by page with its filters", async () => {
    const server = await scriptedServer(
      json(200, { data: [example({ upload: null })], next_cursor: "c1" }),
      json(200, { data: [], next_cursor: null }),
    );
    const found: string[] = [];
    for await (const { id } of clientOf(server.url).models.list({ type: "vae", status: "uploading" })) found.push(id);
    expect(found).toEqual([ID]);
    const path = "/v1/models?type=vae&status=uploading";
    expect(server.seen.map(({ url }) => url)).toEqual([path, `${path}&cursor=c1`]);
  });
});
