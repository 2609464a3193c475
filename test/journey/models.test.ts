import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MODEL_PART_BYTES } from "#contract/limits";
import { ModelStore } from "#gpu-agent/models/model-store";
import { serverRegistry } from "#gpu-agent/models/server-registry";
import { exampleBuild, exampleModel } from "#test/contract/example-build";
import { HandMadeNode } from "#test/journey/hand-made-node";
import { envelopeOf, killHard, System } from "#test/journey/system";
import { until } from "#test/until";

const TOKEN = "hf_a_token_of_the_deployment";

/** A safetensors file of one tensor. */
function safetensors(bytes: number, fill: number): Buffer<ArrayBuffer> {
  const header = JSON.stringify({ weight: { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] } });
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(bytes, fill)]);
}
const sha256Of = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Three parts, of which no two are alike in the end. */
const weights = safetensors(2 * MODEL_PART_BYTES + 12_345, 7);

interface Asked {
  readonly url: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
}

/** A mirror of Hugging Face, which sends whoever has the token to a store of its own. */
let mirror: Server;
let store: Server;
let asked: Asked[];
/** While set, the store sends the beginning of the last part and then nothing. */
let isStuck = false;
const stuck: ServerResponse[] = [];
let system: System;

beforeAll(async () => {
  asked = [];
  const note = (request: IncomingMessage): void => {
    asked.push({
      url: request.url ?? "",
      range: request.headers.range,
      token: request.headers.authorization,
    });
  };
  store = await listen((request, response) => {
    note(request);
    const [first = 0, last = 0] = (/bytes=([0-9]+)-([0-9]+)/.exec(request.headers.range ?? "") ?? [])
      .slice(1)
      .map(Number);
    response.writeHead(206, {
      etag: '"v1"',
      "content-range": `bytes ${first}-${last}/${weights.byteLength}`,
      "content-length": String(last - first + 1),
    });
    if (isStuck && first >= 2 * MODEL_PART_BYTES) {
      stuck.push(response);
      response.write(weights.subarray(first, first + 1_000));
      return;
    }
    response.end(weights.subarray(first, last + 1));
  });
  mirror = await listen((request, response) => {
    note(request);
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      response.writeHead(401).end();
      return;
    }
    response.writeHead(302, { location: `${addressOf(store)}/blob`, "x-linked-etag": `"${sha256Of(weights)}"` }).end();
  });
  system = await System.start({ args: ["--no-agent"], env: { HF_TOKEN: TOKEN, HF_ENDPOINT: addressOf(mirror) } });
});
afterAll(async () => {
  for (const response of stuck) response.destroy();
  await system?.stop();
  for (const server of [mirror, store]) server?.close();
});

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("models", () => {
  it("are imported part by part, over a kill of the server, with the token for its own host alone", async () => {
    isStuck = true;
    const { client } = system;
    const begun = await client.models.importFrom({
      source: "hf:owner/name@main/big.safetensors",
      type: "checkpoints",
      filename: "big.safetensors",
    });
    await until("two parts are stored and the last one is on its way", async () => {
      const { bytes_done } = await client.models.get(begun.id);
      return bytes_done === 2 * MODEL_PART_BYTES && stuck.length > 0 ? true : undefined;
    });
    const server = await system.serverPid();
    const runtime = await system.processes("runtime");
    process.kill(server, "SIGKILL");
    for (const pid of runtime) await killHard(pid);
    isStuck = false;
    asked = [];
    const ready = await client.models.wait(begun.id, { timeoutMs: 90_000 });
    expect(ready).toMatchObject({ status: "ready", sha256: sha256Of(weights), format: "safetensors" });
    // What was stored before the kill was not fetched again.
    const parts = asked.filter(({ url }) => url === "/blob").map(({ range }) => range);
    expect(parts).toEqual([`bytes=${2 * MODEL_PART_BYTES}-${weights.byteLength - 1}`]);
    expect(asked.filter(({ url, token }) => url === "/blob" && token !== undefined)).toEqual([]);
  });

  it("reach a machine's own store from there, whole and verified", async () => {
    const { client } = system;
    const entry = { ...exampleModel, sha256: sha256Of(weights), sizeBytes: weights.byteLength, sources: ["registry:"] };
    const { digest } = await client.builds.create({ ...exampleBuild, models: [entry] });
    const pod = await client.pods.create({ name: "machines" });
    await client.endpoints.create({
      slug: "needs-weights",
      workflow: JSON.parse(await readFile("examples/text-to-image.json", "utf8")),
      build: digest,
      pods: [{ pod_id: pod.id, lanes: ["interactive", "batch"] }],
      settings: { min_replicas: 1 },
    });
    const { token } = await client.pods.createJoinToken(pod.id);
    const node = await HandMadeNode.join(system.url, String(token), "machine", 1);
    await node.fill();
    const machine = await ModelStore.open({
      folder: join(system.state, "a-machine"),
      registry: serverRegistry(system.url, () => node.session),
      reserveBytes: 0,
    });
    try {
      const model = {
        type: "checkpoints",
        filename: "big.safetensors",
        sha256: sha256Of(weights),
        sizeBytes: weights.byteLength,
        sources: ["registry:"],
      };
      const { path } = await machine.ensure(model, { signal: AbortSignal.timeout(90_000) });
      expect(sha256Of(Buffer.from(await readFile(path)))).toBe(sha256Of(weights));
    } finally {
      machine.close();
      await node.stop();
    }
  });

  it("are pushed from a file, listed, shown and deleted on the command line", async () => {
    const small = safetensors(5_000, 8);
    const path = join(system.state, "small.safetensors");
    await writeFile(path, small);
    const pushed = await system.run("models", "push", path, "--type", "loras", "--json");
    expect(pushed.stderr).not.toContain("error");
    expect(envelopeOf(pushed).data.model).toMatchObject({
      status: "ready",
      sha256: sha256Of(small),
      places: [{ type: "loras", filename: "small.safetensors" }],
    });
    // The same file again sends nothing.
    const again = await system.run(
      "models",
      "push",
      path,
      "--type",
      "vae",
      "--filename",
      "other.safetensors",
      "--json",
    );
    expect(envelopeOf(again).data.model).toMatchObject({ status: "ready", places: { length: 2 } });
    const listed = await system.run("models", "ls", "--type", "loras", "--output", "id");
    expect(listed.stdout.trim()).toBe(sha256Of(small));
    const shown = await system.run("models", "show", sha256Of(small), "--output", "text");
    expect(shown.stdout).toContain("models/vae/other.safetensors");
    expect((await system.run("models", "rm", sha256Of(small))).code).toBe(0);
    expect((await system.run("models", "show", sha256Of(small))).code).toBe(5);
  });

  it("that fail say why, with an exit code", async () => {
    const path = join(system.state, "broken.safetensors");
    await writeFile(path, "this is no model");
    const pushed = await system.run("models", "push", path, "--type", "loras", "--json");
    expect(pushed.code).toBe(1);
    expect(envelopeOf(pushed).error).toMatchObject({
      code: "model_failed",
      message: expect.stringContaining("not taken as safetensors"),
    });
    const unsafe = await system.run("models", "push", path, "--type", "loras", "--filename", "x.pt", "--json");
    expect(envelopeOf(unsafe).error).toMatchObject({ code: "invalid_model" });
    const unnamed = await system.run("models", "import", "civitai:1", "--type", "loras", "--json");
    expect(unnamed.code).toBe(2);
  });

  it("have no secret in the server's log", async () => {
    expect(await readFile(join(system.state, "server.log"), "utf8")).not.toContain(TOKEN);
  });
});
