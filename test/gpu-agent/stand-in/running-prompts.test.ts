import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { frameName } from "../comfy-contract/comfy-client.ts";
import { type ServerUnderTest, startServer } from "./server-under-test.ts";

const PICTURE = {
  "1": { class_type: "EmptyImage", inputs: { width: 64, height: 48, batch_size: 1, color: 255 } },
  "2": { class_type: "ImageInvert", inputs: { image: ["1", 0] } },
  "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "rec" } },
};

let server: ServerUnderTest;
beforeAll(async () => {
  server = await startServer();
});
afterAll(async () => await server.close());

describe("a prompt", () => {
  it("sends its frames in ComfyUI's order", async () => {
    const socket = await server.client.connect("me");
    const from = socket.frames.length;
    const id = await server.client.submit(PICTURE, { client_id: "me" });
    const frames = await socket.untilEnd(id, from);
    expect(frames.map(frameName)).toEqual([
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
    ]);
  });
});
