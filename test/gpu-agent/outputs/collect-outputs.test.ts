import { describe, expect, it } from "vitest";
import type { OutputSpec } from "#contract/workflow";
import { collectOutputs, outputNames, shortFilename } from "#gpu-agent/outputs/collect-outputs";
import { fileType } from "#gpu-agent/outputs/content-types";
import { jobPrefix, nodeFolder } from "#gpu-agent/outputs/job-prefix";

const spec = (name: string, node: string, temporary = false): OutputSpec => ({
  name,
  title: name,
  node,
  kind: "image",
  temporary,
});
const file = (filename: string, type = "output", subfolder = "") => ({ filename, subfolder, type });
const filesOf = (...args: Parameters<typeof collectOutputs>) =>
  collectOutputs(...args).map((found) => [found.output, found.type === "file" ? found.file.filename : found.text]);

describe("the outputs of a finished prompt", () => {
  it("are files under any key", () => {
    const shown = {
      "9": {
        images: [file("a.png")],
        gifs: [{ ...file("b.mp4"), format: "video/h264-mp4", frame_rate: 8, fullpath: "/x/b.mp4" }],
        audio: [file("c.flac")],
        video: [file("d.webm")],
        "3d": [file("e.glb")],
        latents: [file("f.latent")],
        animated: [true],
      },
    };
    expect(filesOf(shown, {}, [spec("image", "9")]).map(([, name]) => name)).toEqual([
      "a.png",
      "b.mp4",
      "c.flac",
      "d.webm",
      "e.glb",
      "f.latent",
    ]);
  });

  it("are texts, and files that are named in plain strings", () => {
    const shown = {
      "1": { text: ["a caption"] },
      "2": { result: ["3d/mesh_00001_.glb", null], camera_info: [{ position: 1 }] },
      "3": { result: ["../../etc/passwd.txt"] },
      "4": { result: ["sub\\x.obj [temp]"] },
    };
    const found = collectOutputs(shown, {}, [
      spec("caption", "1"),
      spec("model", "2"),
      spec("no", "3"),
      spec("t", "4", true),
    ]);
    expect(found).toEqual([
      { type: "text", output: "caption", node: "1", text: "a caption" },
      { type: "file", output: "model", node: "2", file: file("mesh_00001_.glb", "output", "3d") },
      { type: "file", output: "t", node: "4", file: file("x.obj", "temp", "sub") },
    ]);
  });

  it("never are inputs; previews only by choice or for want of anything else", () => {
    const shown = {
      "1": { images: [file("in.png", "input"), file("t.png", "temp")] },
      "2": { images: [file("o.png")] },
    };
    expect(filesOf(shown, {}, [spec("one", "1"), spec("two", "2")])).toEqual([["two", "o.png"]]);
    expect(filesOf(shown, {}, [spec("one", "1", true), spec("two", "2")])).toEqual([
      ["one", "t.png"],
      ["two", "o.png"],
    ]);
    expect(filesOf({ "1": shown["1"] }, {}, [spec("one", "1")])).toEqual([["one", "t.png"]]);
  });

  it("are those that the release names; others only when none of those came", () => {
    const shown = { "1": { images: [file("a.png")] }, "7": { images: [file("debug.png")] } };
    expect(filesOf(shown, {}, [spec("image", "1")])).toEqual([["image", "a.png"]]);
    expect(filesOf(shown, {}, [spec("image", "5")])).toEqual([
      ["output", "a.png"],
      ["output", "debug.png"],
    ]);
    // A release whose own output is called "output" does not claim the nodes it leaves out.
    expect(filesOf(shown, {}, [spec("output", "1")])).toEqual([["output", "a.png"]]);
  });

  it("of expanded and inner nodes belong to the node of the graph", () => {
    const shown = { "2.0.0.1": { images: [file("a.png")] }, x: { images: [file("b.png")] } };
    const meta = { x: { node_id: "x", display_node: "4", parent_node: null, real_node_id: "x" } };
    expect(filesOf(shown, meta, [spec("one", "2"), spec("two", "4")])).toEqual([
      ["one", "a.png"],
      ["two", "b.png"],
    ]);
  });

  it("come once each, in the order of the release", () => {
    const shown = { "1": { images: [file("a.png")], gifs: [file("a.png")] }, "2": { images: [file("b.png")] } };
    expect(filesOf(shown, {}, [spec("two", "2"), spec("one", "1")])).toEqual([
      ["two", "b.png"],
      ["one", "a.png"],
    ]);
  });
});

describe("names of outputs", () => {
  it("are unique, safe in a URL, and keep the extension", () => {
    const named = (...list: [string, string][]) =>
      outputNames(list.map(([output, filename]) => ({ output, filename })));
    expect(named(["image", "ä b.PNG"], ["image", "c.png"], ["image", "c.webp"], ["text", "x"])).toEqual([
      "image.png",
      "image_2.png",
      "image.webp",
      "text",
    ]);
    for (const name of named(["../x", "a.png"], ["", "b.tar.gz"], ["__", "c"])) {
      expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
    }
    // A name that is made up must not be somebody else's.
    expect(named(["a", "x.png"], ["a", "x.png"], ["a_2", "x.png"])).toEqual(["a.png", "a_2.png", "a_2_2.png"]);
  });

  it("of files keep their extension when they are cut", () => {
    expect(shortFilename(`${"写".repeat(300)}.png`)).toBe(`${"写".repeat(251)}.png`);
  });
});

describe("kinds of files", () => {
  it.each([
    ["a.webm", "video/webm", "video"],
    ["a.WEBP", "image/webp", "image"],
    ["a.glb", "model/gltf-binary", "model3d"],
    ["a.flac", "audio/flac", "audio"],
    ["a.txt", "text/plain; charset=utf-8", "text"],
    ["a.latent", "application/octet-stream", "file"],
    [".png", "application/octet-stream", "file"],
    ["constructor", "application/octet-stream", "file"],
    ["a.constructor", "application/octet-stream", "file"],
  ])("%s is %s", (name, contentType, kind) => {
    expect(fileType(name)).toEqual({ contentType, kind });
  });
});

describe("where a job's nodes save", () => {
  it("is a folder of their own, with the workflow's own name", () => {
    expect(jobPrefix("jobs/job_1/1", "9", "ComfyUI")).toBe("jobs/job_1/1/9/ComfyUI");
    expect(jobPrefix("jobs/job_1/1", "10:5", "a/b/写真 %width%")).toBe("jobs/job_1/1/10_3A5/写真 %width%");
    expect(jobPrefix("jobs/job_1/1", "2", "..\\..\\evil")).toBe("jobs/job_1/1/2/evil");
    expect(jobPrefix("jobs/job_1/1", "2", "../..")).toBe("jobs/job_1/1/2/ComfyUI");
    expect(jobPrefix("jobs/job_1/1", "2", "a/")).toBe("jobs/job_1/1/2/ComfyUI");
    expect(nodeFolder("../..")).not.toContain(".");
  });
});
