import { existsSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { frameName } from "../comfy-contract/comfy-client.ts";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";

let server: ServerUnderTest | undefined;
afterEach(async () => await server?.close());

async function start(...flags: string[]): Promise<ServerUnderTest> {
  server = await startServer(flags);
  return server;
}

const SAVE = {
  "1": { class_type: "EmptyImage", inputs: { width: 8, height: 8, batch_size: 1, color: 1 } },
  "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "fault" } },
};

async function lastMessage(under: ServerUnderTest, prompt: object = SAVE): Promise<unknown> {
  const { status } = await under.client.finished(await under.client.submit(prompt));
  const messages = isJsonObject(status) && Array.isArray(status.messages) ? status.messages : [];
  return messages.at(-1);
}

const set = (under: ServerUnderTest, faults: JsonObject) => under.client.post("/stand-in/faults", faults);

describe("faults over HTTP", () => {
  it("are shown, changed one by one and reset", async () => {
    const under = await start("--fault-slow-node-ms", "5");
    expect((await under.client.get("/stand-in/faults")).json).toMatchObject({ slow_node_ms: 5, out_of_memory: 0 });
    expect((await set(under, { out_of_memory: 2 })).json).toMatchObject({ slow_node_ms: 5, out_of_memory: 2 });
    const reset = await under.client.request("DELETE", "/stand-in/faults");
    expect(reset.json).toMatchObject({ slow_node_ms: 0, out_of_memory: 0 });
  });

  it.each([
    [{ no_such_fault: true }, "there is no fault named no_such_fault"],
    [{ out_of_memory: -1 }, "out_of_memory must be a number of at least 0"],
    [{ crash: "later" }, "crash must be one of prompt_start, mid_node, after_save"],
    [{ disk_full: "yes" }, "disk_full must be true or false"],
    [{ missing_models: "a" }, "missing_models must be a list of names"],
  ])("refuse %j and change nothing", async (body, error) => {
    const under = await start();
    const answer = await set(under, { slow_node_ms: 9, ...(body as JsonObject) });
    expect([answer.status, answer.json]).toEqual([400, { error }]);
    expect((await under.client.get("/stand-in/faults")).json).toMatchObject({ slow_node_ms: 0 });
  });
});

describe("a fault", () => {
  it("out_of_memory fails the next prompts as torch does, then no more", async () => {
    const under = await start("--fault-out-of-memory", "2");
    for (let count = 0; count < 2; count += 1) {
      expect(await lastMessage(under)).toMatchObject([
        "execution_error",
        {
          exception_type: "torch.OutOfMemoryError",
          exception_message: expect.stringContaining("This error means you ran out of memory on your GPU."),
        },
      ]);
    }
    expect(await lastMessage(under)).toMatchObject(["execution_success", {}]);
  });

  it.each(["ImageInvert", "2"])("node_exception raises in %s", async (node_exception) => {
    const under = await start();
    await set(under, { node_exception, node_exception_type: "ValueError", node_exception_message: "broken" });
    expect(await lastMessage(under)).toMatchObject([
      "execution_error",
      {
        node_id: "2",
        node_type: "ImageInvert",
        exception_type: "ValueError",
        exception_message: "broken\n",
        executed: ["1"],
      },
    ]);
  });

  it("disk_full fails nodes that save, and leaves no file", async () => {
    const under = await start("--fault-disk-full");
    expect(await lastMessage(under)).toMatchObject([
      "execution_error",
      { node_id: "3", exception_type: "OSError", exception_message: "[Errno 28] No space left on device\n" },
    ]);
    expect(existsSync(path.join(under.folder, "output", "fault_00001_.txt"))).toBe(false);
  });

  it("missing_models takes names out of every list", async () => {
    const under = await start();
    const choices = async () => (await under.client.get("/object_info/CheckpointLoaderSimple")).text;
    expect(await choices()).toContain("simulated.safetensors");
    await set(under, { missing_models: ["simulated.safetensors"] });
    expect(await choices()).not.toContain("simulated.safetensors");
    expect((await under.client.get("/models/checkpoints")).json).toEqual([]);
  });

  it("dead_worker lets the prompt run for ever, without a word", async () => {
    const under = await start();
    const socket = await under.client.connect("me");
    await set(under, { dead_worker: true });
    const id = await under.client.submit(SAVE, { client_id: "me" });
    await socket.until((frame) => frameName(frame) === "execution_start");
    const waiting = await under.client.submit(SAVE, { client_id: "me" });
    expect((await under.client.get("/queue")).json).toMatchObject({
      queue_running: [[0, id, {}, {}, ["3"]]],
      queue_pending: [[1, waiting, {}, {}, ["3"]]],
    });
    expect(under.log.lines().some(({ m }) => m.includes("Exception"))).toBe(false);
  });

  it("silent_socket opens sockets that never speak, while prompts run", async () => {
    const under = await start("--fault-silent-socket");
    const socket = under.client.open("me");
    await new Promise((resolve) => socket.socket.addEventListener("open", resolve));
    expect(await lastMessage(under)).toMatchObject(["execution_success", {}]);
    expect(socket.frames).toEqual([]);
    expect(socket.isClosed).toBe(false);
  });

  it("drop_sockets cuts them without a goodbye", async () => {
    const under = await start();
    const socket = await under.client.connect("me");
    const closed = new Promise<CloseEvent>((resolve) => socket.socket.addEventListener("close", resolve));
    await set(under, { drop_sockets: true });
    expect((await closed).wasClean).toBe(false);
    await under.client.connect("me");
  });

  it("history_loss leaves no entry, and clear_history forgets old ones", async () => {
    const under = await start();
    const kept = await under.client.submit(SAVE);
    await under.client.finished(kept);
    await set(under, { history_loss: true });
    const socket = await under.client.connect("me");
    const lost = await under.client.submit(SAVE, { client_id: "me" });
    await socket.untilEnd(lost);
    expect((await under.client.get(`/history/${lost}`)).json).toEqual({});
    await set(under, { clear_history: true });
    expect((await under.client.get("/history")).json).toEqual({});
  });

  it("slow_node_ms slows every node and can be interrupted", async () => {
    const under = await start();
    await set(under, { slow_node_ms: 3_600_000 });
    const socket = await under.client.connect("me");
    const id = await under.client.submit(SAVE, { client_id: "me" });
    await socket.until((frame) => frameName(frame) === "executing 1");
    await under.client.post("/interrupt", { prompt_id: id });
    expect((await socket.untilEnd(id)).map(frameName)).toContain("execution_interrupted");
  });

  it.each(["prompt_start", "mid_node", "after_save"])("crash at %s ends the process there", async (crash) => {
    const under = await start();
    const socket = await under.client.connect("me");
    await set(under, { crash });
    await under.client.submit(SAVE, { client_id: "me" });
    await under.client.poll(async () => (under.crashes.length > 0 ? true : undefined));
    const names = socket.frames.map(frameName);
    expect(names.includes("execution_start")).toBe(true);
    expect(names.includes("executing 1")).toBe(crash !== "prompt_start");
    expect(names.includes("executed 3")).toBe(false);
    expect(existsSync(path.join(under.folder, "output", "fault_00001_.txt"))).toBe(crash === "after_save");
  });
});
