import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { isJsonObject, type Json } from "#contract/exact-json";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";

let server: ServerUnderTest | undefined;
afterEach(async () => await server?.close());

async function start(...flags: string[]): Promise<ServerUnderTest> {
  server = await startServer(flags);
  return server;
}

function put(under: ServerUnderTest, file: string, content: string | Uint8Array): void {
  const full = path.join(under.folder, file);
  mkdirSync(path.dirname(full), { recursive: true });
  writeFileSync(full, content);
}

async function choices(under: ServerUnderTest, className: string, input: string): Promise<Json> {
  const { json } = await under.client.get(`/object_info/${className}`);
  const described = isJsonObject(json) ? json[className] : undefined;
  const inputs = isJsonObject(described) && isJsonObject(described.input) ? described.input.required : undefined;
  const spec = isJsonObject(inputs) ? inputs[input] : undefined;
  return Array.isArray(spec) ? (spec[0] ?? null) : null;
}

describe("lists of files", () => {
  it("show pictures of the input folder, sorted, as they are now", async () => {
    const under = await start();
    expect(await choices(under, "LoadImage", "image")).toEqual([]);
    for (const name of ["b.png", "a.webp", "B.jpg", "notes.txt", "film.mp4", "sub/c.png"])
      put(under, `input/${name}`, "");
    expect(await choices(under, "LoadImage", "image")).toEqual(["B.jpg", "a.webp", "b.png"]);
  });

  it("show simulated models together with real files, folders included", async () => {
    const under = await start();
    for (const name of ["real.safetensors", "sdxl/base.ckpt", "readme.txt"])
      put(under, `models/checkpoints/${name}`, "");
    const names = ["real.safetensors", "sdxl/base.ckpt", "simulated.safetensors"];
    expect(await choices(under, "CheckpointLoaderSimple", "ckpt_name")).toEqual(names);
    expect((await under.client.get("/models/checkpoints")).json).toEqual(names);
    expect((await under.client.get("/models/loras")).json).toEqual([]);
    expect((await under.client.get("/models/unknown")).status).toBe(404);
  });

  it("find models under the older names of their folders", async () => {
    const under = await start();
    put(under, "models/unet/a.safetensors", "");
    put(under, "models/diffusion_models/b.safetensors", "");
    expect((await under.client.get("/models/diffusion_models")).json).toEqual(["a.safetensors", "b.safetensors"]);
  });

  it("name embeddings without their ending", async () => {
    const under = await start();
    put(under, "models/embeddings/good.v2.pt", "");
    expect((await under.client.get("/embeddings")).json).toEqual(["good.v2"]);
  });

  it("read the metadata of a safetensors file", async () => {
    const under = await start();
    const header = Buffer.from(JSON.stringify({ __metadata__: { author: "me" } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    put(under, "models/loras/a.safetensors", Buffer.concat([length, header]));
    put(under, "models/loras/bad.safetensors", "123");
    const metadata = (name: string) => under.client.get(`/view_metadata/loras?filename=${name}`);
    expect((await metadata("a.safetensors")).json).toEqual({ author: "me" });
    for (const name of ["bad.safetensors", "none.safetensors", "a.pt"]) expect((await metadata(name)).status).toBe(404);
  });

  it("show the output folder to nodes that load from it", async () => {
    const under = await start();
    put(under, "output/made.png", "");
    expect((await under.client.get("/internal/files/output")).json).toEqual(["made.png"]);
    expect((await under.client.get("/internal/files/elsewhere")).status).toBe(400);
  });

  it("hold one entry per class with an implementation, and no other", async () => {
    const under = await start();
    const { json } = await under.client.get("/object_info");
    const names = Object.keys(isJsonObject(json) ? json : {});
    expect(names).toContain("SlowPass");
    expect(names).not.toContain("KSampler");
  });
});

describe("cross-origin headers", () => {
  it("replace the origin check when they are enabled", async () => {
    const under = await start("--enable-cors-header", "https://studio.example");
    const answer = await under.client.get("/prompt", { origin: "https://evil.example" });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://studio.example");
    expect((await under.client.request("OPTIONS", "/prompt")).headers.get("access-control-allow-methods")).toContain(
      "POST",
    );
  });
});

describe("the log", () => {
  it("can be read over HTTP", async () => {
    const under = await start();
    await under.client.post("/prompt", "{oops");
    expect((await under.client.get("/internal/logs")).text).toContain("Error handling request");
    expect((await under.client.get("/internal/logs/raw")).json).toMatchObject({
      entries: [{ m: expect.any(String), t: expect.any(String) }],
    });
  });
});
