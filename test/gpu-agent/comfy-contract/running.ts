/** Running prompts: frames, cache, failures, interrupts. */
import { describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject } from "#contract/exact-json";
import { type BinaryFrame, frameName, isText, type TextFrame } from "./comfy-client.ts";
import { type Contract, emptyImage, picture, uniqueName } from "./servers.ts";

const FULL_RUN = [
  "status",
  "status",
  "execution_start",
  "execution_cached",
  "progress_state 1=running",
  "executing 1",
  "progress_state 1=finished",
  "progress_state 1=finished,2=running",
  "executing 2",
  "progress_state 1=finished,2=finished",
  "progress_state 1=finished,2=finished,3=running",
  "executing 3",
  "executed 3",
  "progress_state 1=finished,2=finished,3=finished",
  "execution_success",
  "status",
  "executing null",
];

function filesOf(entry: JsonObject, node: string): JsonObject[] {
  const outputs = isJsonObject(entry.outputs) ? entry.outputs[node] : undefined;
  const images = isJsonObject(outputs) && Array.isArray(outputs.images) ? outputs.images : [];
  return images.filter(isJsonObject);
}

function statusOf(entry: JsonObject): JsonObject {
  return isJsonObject(entry.status) ? entry.status : {};
}

function eventsOf(entry: JsonObject): string[] {
  const { messages } = statusOf(entry);
  return Array.isArray(messages)
    ? messages.map((message) => String(Array.isArray(message) ? message[0] : message))
    : [];
}

/** Frames about prompts; a shared server sends `status` for others too, and newer ones announce files. */
function named(frames: readonly (TextFrame | BinaryFrame)[]): string[] {
  return frames.map(frameName).filter((name) => !name.startsWith("asset"));
}

export function runningTests(contract: Contract): void {
  describe("running a prompt", () => {
    it("sends every frame in the known order", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const from = socket.frames.length;
      const id = await contract.client.submit(picture(), { client_id: clientId });
      expect(named(await socket.untilEnd(id, from))).toEqual(FULL_RUN);
    });

    it("has written the history when the end marker comes", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const prompt = picture();
      const id = await contract.client.submit(prompt, {
        client_id: clientId,
        extra_data: { extra_pnginfo: { workflow: { id: "w" } } },
      });
      await socket.untilEnd(id);
      const { json } = await contract.client.get(`/history/${id}`);
      const entry = isJsonObject(json) && isJsonObject(json[id]) ? json[id] : {};
      expect(entry.prompt).toEqual([
        expect.any(Number),
        id,
        prompt,
        {
          extra_pnginfo: { workflow: { id: "w" } },
          client_id: clientId,
          ...(contract.isNewer ? { create_time: expect.any(Number) } : {}),
        },
        ["3"],
      ]);
      expect(filesOf(entry, "3")).toMatchObject([
        { filename: expect.stringMatching(/^contract_.*_00001_\.png$/), subfolder: "", type: "output" },
      ]);
      expect(statusOf(entry)).toMatchObject({ status_str: "success", completed: true });
      expect(eventsOf(entry)).toEqual(["execution_start", "execution_cached", "execution_success"]);
      expect(entry.meta).toEqual({ "3": { node_id: "3", display_node: "3", parent_node: null, real_node_id: "3" } });
    });

    it("repeats a cached output with its old file name, and runs nothing", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const prompt = picture();
      const first = await contract.client.submit(prompt, { client_id: clientId });
      await socket.untilEnd(first);
      const from = socket.frames.length;
      const second = await contract.client.submit(prompt, { client_id: clientId });
      const frames = await socket.untilEnd(second, from);
      expect(named(frames)).toEqual([
        "status",
        "status",
        "execution_start",
        "execution_cached",
        "executed 3",
        "progress_state 3=finished",
        "execution_success",
        "status",
        "executing null",
      ]);
      const cached = frames.find((frame) => isText(frame) && frame.type === "execution_cached");
      expect(cached).toMatchObject({ data: { nodes: ["1", "2", "3"] } });
      const [before, after] = [await contract.client.finished(first), await contract.client.finished(second)];
      expect(filesOf(after, "3")).toEqual(filesOf(before, "3"));
    });

    it("runs only the save node again when only its prefix changed", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const prompt = picture();
      await socket.untilEnd(await contract.client.submit(prompt, { client_id: clientId }));
      const changed = {
        ...prompt,
        "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: uniqueName() } },
      };
      const from = socket.frames.length;
      const id = await contract.client.submit(changed, { client_id: clientId });
      const frames = await socket.untilEnd(id, from);
      expect(named(frames).filter((name) => name.startsWith("executing"))).toEqual(["executing 3", "executing null"]);
    });

    it("finds cached work under other node ids", async () => {
      const prompt = picture();
      await contract.client.finished(await contract.client.submit(prompt, { client_id: uniqueName() }));
      const renamed = {
        a: prompt["1"],
        b: { class_type: "ImageInvert", inputs: { image: ["a", 0] } },
        c: { class_type: "SaveImage", inputs: { images: ["b", 0], filename_prefix: uniqueName() } },
      };
      const id = await contract.client.submit(renamed, { client_id: uniqueName() });
      const { messages } = statusOf(await contract.client.finished(id));
      expect(messages).toMatchObject([{}, ["execution_cached", { nodes: ["a", "b"] }], {}]);
    });

    it("counts files up under one prefix", async () => {
      const prefix = uniqueName();
      for (const count of [1, 2]) {
        const id = await contract.client.submit(picture(prefix), { client_id: uniqueName() });
        const entry = await contract.client.finished(id);
        expect(filesOf(entry, "3")).toMatchObject([{ filename: `${prefix}_0000${count}_.png` }]);
      }
    });

    it("splits a folder off the prefix", async () => {
      const folder = uniqueName();
      const id = await contract.client.submit(picture(`${folder}/deep/a`), { client_id: uniqueName() });
      const entry = await contract.client.finished(id);
      expect(filesOf(entry, "3")).toMatchObject([
        { filename: "a_00001_.png", subfolder: `${folder}/deep`, type: "output" },
      ]);
    });

    it("reports a failing node, and keeps what was finished before it", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const prompt = {
        ...picture(),
        "4": { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "../evil" } },
        "5": { class_type: "ImageInvert", inputs: { image: ["2", 0] } },
      };
      const from = socket.frames.length;
      const id = await contract.client.submit(prompt, { client_id: clientId });
      const frames = await socket.untilEnd(id, from);
      expect(named(frames).slice(-3)).toEqual(["execution_error", "status", "executing null"]);
      const error = frames.find((frame) => isText(frame) && frame.type === "execution_error");
      expect(error).toMatchObject({
        data: {
          prompt_id: id,
          node_id: "4",
          node_type: "SaveImage",
          exception_type: "Exception",
          exception_message: expect.stringContaining("Saving image outside the output folder is not allowed."),
          traceback: expect.any(Array),
          current_inputs: { filename_prefix: ["../evil"] },
          timestamp: expect.any(Number),
        },
      });
      const entry = await contract.client.finished(id);
      expect(statusOf(entry)).toMatchObject({ status_str: "error", completed: false });
      expect(eventsOf(entry)).toEqual(["execution_start", "execution_cached", "execution_error"]);
      expect(filesOf(entry, "3")).toHaveLength(1);
    });

    it("interrupts the prompt with the given id, and no other", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const id = await contract.client.submit(await contract.slowPrompt(), { client_id: clientId });
      await socket.until((frame) => frameName(frame) === "executing 2");
      expect((await contract.client.post("/interrupt", { prompt_id: crypto.randomUUID() })).status).toBe(200);
      await socket.until((frame) => frameName(frame) === "executing 4");
      const answer = await contract.client.post("/interrupt", { prompt_id: id });
      expect([answer.status, answer.text, answer.contentType]).toEqual([200, "", null]);
      const frames = await socket.untilEnd(id);
      expect(named(frames).slice(-3)).toEqual(["execution_interrupted", "status", "executing null"]);
      const entry = await contract.client.finished(id);
      expect(statusOf(entry)).toMatchObject({ status_str: "error", completed: false });
      expect(eventsOf(entry).at(-1)).toBe("execution_interrupted");
      expect(entry.outputs).toEqual({});
    });

    it("forgets an interrupt that came while nothing ran", async () => {
      await contract.client.post("/interrupt", "");
      const id = await contract.client.submit(picture(), { client_id: uniqueName() });
      expect(statusOf(await contract.client.finished(id)).status_str).toBe("success");
    });

    it("tells everyone about a prompt without a client, but not when it ends", async () => {
      const socket = await contract.client.connect(uniqueName());
      const from = socket.frames.length;
      const id = await contract.client.submit(picture());
      await contract.client.finished(id);
      const next = await contract.client.submit(picture());
      await socket.until((frame) => isText(frame) && frame.type === "progress_state" && frame.data.prompt_id === next);
      const about = socket.frames.slice(from).filter((frame) => isText(frame) && frame.data.prompt_id === id);
      expect(new Set(about.map((frame) => frameName(frame).split(" ")[0]))).toEqual(new Set(["progress_state"]));
    });

    it("shows a node's text to every socket", async () => {
      const [mine, other] = [await contract.client.connect(uniqueName()), await contract.client.connect(uniqueName())];
      const prompt = {
        "1": emptyImage(16, 24),
        "2": { class_type: "GetImageSize", inputs: { image: ["1", 0] } },
        "3": { class_type: "PreviewAny", inputs: { source: ["2", 0] } },
      };
      const id = await contract.client.submit(prompt, { client_id: uniqueName() });
      const entry = await contract.client.finished(id);
      expect(entry.outputs).toEqual({ "3": { text: ["16"] } });
      for (const socket of [mine, other]) {
        const frame = await socket.until((candidate) => !isText(candidate) && candidate.event === 3);
        const { payload } = frame as BinaryFrame;
        expect(payload.readUInt32BE(0)).toBe(1);
        expect(payload.subarray(4).toString()).toBe("2width: 16, height: 24\n batch size: 1");
      }
    });

    it("runs an output whose node feeds nothing else before unrelated work", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const prompt = {
        "1": emptyImage(),
        "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
        "3": { class_type: "ImageInvert", inputs: { image: ["2", 0] } },
        "4": { class_type: "PreviewImage", inputs: { images: ["3", 0] } },
        "5": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      };
      const id = await contract.client.submit(prompt, { client_id: clientId });
      const frames = await socket.untilEnd(id);
      const started = named(frames).filter((name) => /^executing \d/.test(name));
      expect(started).toEqual(["executing 1", "executing 5", "executing 2", "executing 3", "executing 4"]);
    });
  });
}
