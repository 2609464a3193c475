import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ReplicaState } from "#contract/replica";
import { System } from "#test/journey/system";
import { until } from "#test/until";

/** 113 MB: nine uncompressed frames. Above the 100 MiB of one PUT, so it goes up in parts. */
const BIG = {
  1: { class_type: "EmptyImage", inputs: { width: 2048, height: 2048, batch_size: 9, color: 1_710_638 } },
  2: {
    class_type: "SaveAnimatedPNG",
    inputs: { images: ["1", 0], filename_prefix: "big", fps: 6, compress_level: 0 },
  },
};
/** A text of no characters. */
const EMPTY = {
  1: { class_type: "PrimitiveString", inputs: { value: "" } },
  2: { class_type: "PreviewAny", inputs: { source: ["1", 0] } },
};

let system: System;

beforeAll(async () => {
  system = await System.start();
});
afterAll(() => system?.stop());

/** Sends a GET and never reads a byte of the answer. */
async function absentReader(path: string, headers: Record<string, string> = {}): Promise<Socket> {
  const { hostname, port, host } = new URL(system.url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.pause();
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  const lines = Object.entries({ host, authorization: `Bearer ${system.token}`, ...headers });
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
  return socket;
}

const states = async (endpoint: string): Promise<ReplicaState[]> =>
  (await system.client.endpoints.replicas(endpoint)).map(({ state }) => state).filter((state) => state !== "stopped");

describe("an endpoint without work", () => {
  it("has no replica, starts one for a job, and has none again", async () => {
    await system.deploy("model-free", { slug: "scaling", settings: { idle_timeout_s: 1 } });
    expect(await states("scaling")).toEqual([]);
    const job = await system.client.jobs.submit("scaling", { inputs: { width: 64 } });
    await until("a replica starts", async () => ((await states("scaling")).length > 0 ? true : undefined));
    const ended = await system.client.jobs.wait(job.id);
    expect(ended.state).toBe("succeeded");
    // The cold start is in the job's own timeline.
    expect(ended.timeline.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(["placement", "booting", "loading"]),
    );
    await until("the replica stops", async () => ((await states("scaling")).length === 0 ? true : undefined));
    const [node] = await system.client.nodes.list(system.podId);
    expect(node?.slots.map(({ replica_id }) => replica_id)).toEqual([null, null]);
    const again = await system.client.jobs.submit("scaling", { inputs: { width: 65 } });
    expect((await system.client.jobs.wait(again.id)).state).toBe("succeeded");
  });
});

describe("a burst", () => {
  it("is answered one by one, nothing lost, nothing twice", async () => {
    await system.deploy("model-free", { slug: "burst" });
    const jobs = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        system.client.jobs.submit("burst", { inputs: { color: index }, tags: ["burst"] }),
      ),
    );
    const ended = await Promise.all(jobs.map(({ id }) => system.client.jobs.wait(id)));
    expect(ended.map(({ state }) => state)).toEqual(jobs.map(() => "succeeded"));
    expect(ended.map(({ attempt }) => attempt)).toEqual(jobs.map(() => 1));
    const listed: string[] = [];
    for await (const { id } of system.client.jobs.list({ endpoint: "burst", tag: "burst", limit: 7 })) listed.push(id);
    expect(listed.toSorted()).toEqual(jobs.map(({ id }) => id).toSorted());
    expect(listed).toEqual(listed.toSorted().toReversed());
  });
});

describe("outputs of every size", () => {
  it("of 113 MB arrive whole, and in ranges", async () => {
    await system.client.endpoints.create({ slug: "big", workflow: BIG });
    const submitted = await system.client.jobs.submit("big", { inputs: {} });
    const job = await system.client.jobs.wait(submitted.id);
    expect(job).toMatchObject({ state: "succeeded" });
    const [output] = job.outputs;
    if (output === undefined) throw new Error("The job has no output");
    expect(output.size).toBeGreaterThan(100 * 1024 * 1024);
    const hash = createHash("sha256");
    for await (const piece of system.client.outputs.download({ job: job.id, output })) hash.update(piece);
    expect(hash.digest("hex")).toBe(output.sha256);

    const last = await fetch(output.url, { headers: { range: "bytes=-12" } });
    expect(last.status).toBe(206);
    // The last chunk of every PNG.
    expect(Buffer.from(await last.arrayBuffer()).toString("latin1", 4, 8)).toBe("IEND");

    // Readers that do not read hold nobody else up. Each asks for more than sockets take in; all of it, twenty times, the
    // local R2 would put into its memory.
    const path = `/v1/jobs/${job.id}/outputs/${output.name}`;
    const range = `bytes=0-${16 * 1024 * 1024 - 1}`;
    const readers = await Promise.all(Array.from({ length: 20 }, () => absentReader(path, { range })));
    const watchers = await Promise.all(
      Array.from({ length: 20 }, () => absentReader(`/v1/jobs/${job.id}/events`, { accept: "text/event-stream" })),
    );
    const other = await system.client.jobs.submit("burst", { inputs: { color: 777 } }, { waitS: 60 });
    expect(other.state).toBe("succeeded");
    for (const socket of [...readers, ...watchers]) socket.destroy();
  });

  it("of no bytes arrive too", async () => {
    await system.client.endpoints.create({ slug: "empty", workflow: EMPTY });
    const job = await system.client.jobs.submit("empty", { inputs: { string_value: "" } }, { waitS: 60 });
    expect(job).toMatchObject({ state: "succeeded", outputs: [{ kind: "text", size: 0 }] });
    const [output] = job.outputs;
    if (output === undefined) throw new Error("The job has no output");
    expect(await system.client.outputs.bytes({ job: job.id, output })).toHaveLength(0);
    const response = await fetch(output.url);
    expect([response.status, await response.text()]).toEqual([200, ""]);
  });
});

describe("a file input", () => {
  it("is uploaded once, used by id, and comes out computed", async () => {
    const source = await system.client.jobs.submit("burst", { inputs: { color: 5 } }, { waitS: 60 });
    const [picture] = source.outputs;
    if (picture === undefined) throw new Error("The job has no output");
    const bytes = await system.client.outputs.bytes({ job: source.id, output: picture });
    const one = await system.client.files.upload(bytes, { filename: "a picture.png", contentType: "image/png" });
    const same = await system.client.files.upload(bytes, { filename: "a picture.png", contentType: "image/png" });
    expect(same.id).toBe(one.id);
    await system.deploy("two-outputs");
    const job = await system.client.jobs.submit("two-outputs", { inputs: { image: one.id } });
    const ended = await system.client.jobs.wait(job.id);
    expect(ended).toMatchObject({ state: "succeeded", error: null });
    expect(ended.outputs.map(({ output }) => output).toSorted()).toEqual(["mask", "picture"]);
  });
});

describe("a watcher", () => {
  it("that comes and goes sees every number once", async () => {
    await system.client.jobs.submit("burst", { inputs: { color: 900 } }, { waitS: 60 });
    const { url } = await system.standIn();
    await fetch(`${url}/stand-in/faults`, { method: "POST", body: JSON.stringify({ slow_node_ms: 100 }) });
    const job = await system.client.jobs.submit("burst", { inputs: { color: 901 } });
    const seen: number[] = [];
    let types: string[] = [];
    // Leaves after each numbered event and comes back with its number, as a phone on a train does.
    while (!["succeeded", "failed"].includes(types.at(-1) ?? "")) {
      for await (const event of system.client.jobs.events(job.id, { afterSeq: seen.at(-1) ?? 0 })) {
        types = [...types, event.type];
        if (event.seq === null) continue;
        seen.push(event.seq);
        break;
      }
    }
    expect(seen).toEqual(seen.map((_, index) => index + 1));
    expect(types.at(-1)).toBe("succeeded");
  });
});
