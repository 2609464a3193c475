import { describe, expect, it } from "vitest";
import { imported, type Nodes, node } from "./graphs.ts";

const outputsOf = async (nodes: Nodes) => {
  const { outputs } = await imported({
    a: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }),
    ...nodes,
  });
  return outputs.map(({ name, node: id, kind, temporary }) => `${name} ${id} ${kind}${temporary ? " temporary" : ""}`);
};
const save = (title?: string) => node("SaveImage", { filename_prefix: "x", images: ["a", 0] }, title);

describe("outputs", () => {
  it("have the kind their class saves", async () => {
    expect(
      await outputsOf({
        b: node("SaveAnimatedWEBP", {
          images: ["a", 0],
          filename_prefix: "x",
          fps: 6,
          lossless: true,
          quality: 80,
          method: "default",
        }),
        c: node("SaveAudio", { audio: ["x", 0], filename_prefix: "x" }),
        x: node("EmptyAudio", { duration: 1, sample_rate: 44100, channels: 2 }),
        d: node("VHS_VideoCombine", {
          images: ["a", 0],
          frame_rate: 8,
          format: "video/h264-mp4",
          filename_prefix: "x",
        }),
        e: node("VHS_VideoCombine", { images: ["a", 0], frame_rate: 8, format: "image/gif", filename_prefix: "x" }),
        f: node("CPackOutputImage", { images: ["a", 0], filename_prefix: "x" }),
        g: node("SaveGLBFancy", { mesh: ["a", 0] }),
      }),
    ).toEqual([
      "animation b image",
      "audio c audio",
      "video d video",
      "image e image",
      "image_2 f image",
      "model g model3d",
    ]);
  });

  it("leave previews out while something is saved", async () => {
    const preview = node("PreviewImage", { images: ["a", 0] });
    expect(await outputsOf({ save: save(), preview })).toEqual(["image save image"]);
    expect(await outputsOf({ preview })).toEqual(["image preview image temporary"]);
  });

  it("of text count beside saved pictures: text shown is in no temp folder", async () => {
    const text = node("PreviewAny", { source: ["a", 0] });
    expect(await outputsOf({ b: text })).toEqual(["text b text"]);
    expect(await outputsOf({ save: save(), text })).toEqual(["image save image", "text text text"]);
  });

  it("are called by the titles their author gave, or counted", async () => {
    expect(await outputsOf({ b: save("Save Image"), c: save("Save Image") })).toEqual([
      "image b image",
      "image_2 c image",
    ]);
    expect(await outputsOf({ b: save("Picture"), c: save("Mask") })).toEqual(["picture b image", "mask c image"]);
    expect(await outputsOf({ b: save("Save Image"), c: save("Big one") })).toEqual([
      "image b image",
      "big_one c image",
    ]);
    expect(await outputsOf({ b: save("Alone") })).toEqual(["image b image"]);
    expect(await outputsOf({ b: save("遮罩"), c: save("遮罩") })).toEqual(["image b image", "image_2 c image"]);
  });

  it("of unknown classes count when their name says that they save", async () => {
    expect(
      await outputsOf({ b: node("FancyExport", { images: ["a", 0] }), c: node("FancyThing", { x: ["a", 0] }) }),
    ).toEqual(["image b image"]);
  });

  it("follow the server's description", async () => {
    const objectInfo = {
      Thing: { input: { required: { images: ["IMAGE"] } }, output: [], output_node: true },
    } as never;
    const { outputs } = await imported(
      { a: node("EmptyImage", {}), b: node("Thing", { images: ["a", 0] }) },
      { objectInfo },
    );
    expect(outputs).toMatchObject([{ node: "b", kind: "image" }]);
  });
});
