import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "#contract/exact-json";
import { convertUi } from "#workflow/ui/convert-ui";
import { converted, expanded, inputsOf, lookup, type NodeSketch, uiGraph, uiNode } from "./editor-graph.ts";

const one = (type: string, sketch: NodeSketch) => uiGraph([uiNode("1", type, sketch)], []);
const inputs = (type: string, widgets: readonly Json[] | JsonObject | null, more: NodeSketch = {}) =>
  inputsOf(converted(one(type, { ...more, widgets })), "1");
const notes = (type: string, sketch: NodeSketch) => converted(one(type, sketch)).notes;
const SAMPLED = { steps: 20, cfg: 8, sampler_name: "euler", scheduler: "normal", denoise: 0.5 };

describe("what an editor stores behind a seed", () => {
  it.each([["randomize"], ["fixed"], ["increment"], ["decrement"], ["increment-wrap"], [true], [false]])(
    "%s is no input",
    (control) => {
      expect(inputs("KSampler", [7, control, 20, 8, "euler", "normal", 0.5])).toEqual({ seed: 7, ...SAMPLED });
    },
  );

  it("may be missing", () => {
    expect(inputs("KSampler", [7, 20, 8, "euler", "normal", 0.5])).toEqual({ seed: 7, ...SAMPLED });
  });

  it("is told from a boolean widget that follows", () => {
    expect(inputs("Flagged", [7, true, false])).toEqual({ seed: 7, flag: false });
    expect(inputs("Flagged", [7, "fixed", true])).toEqual({ seed: 7, flag: true });
    expect(inputs("Flagged", [7, true])).toEqual({ seed: 7, flag: true });
  });

  it("keeps every digit of a seed", () => {
    expect(inputs("KSampler", [2n ** 64n - 1n, "fixed", 20, 8, "euler", "normal", 0.5])?.seed).toBe(2n ** 64n - 1n);
  });

  it("stands behind a choice too, with a filter", () => {
    expect(inputs("Picked", ["b", "randomize", "", 5])).toEqual({ name: "b", size: 5 });
    expect(inputs("Picked", ["b", "randomize", 5])).toEqual({ name: "b", size: 5 });
    expect(inputs("Picked", ["b", 5])).toEqual({ name: "b", size: 5 });
  });
});

describe("values of a class that has changed since", () => {
  it("skip an input that was added, which gets its default", () => {
    expect(inputs("KSampler", [7, "fixed", 20, 8, "euler", "normal"])).toEqual({ seed: 7, ...SAMPLED, denoise: 1 });
    expect(notes("KSampler", { widgets: [7, "fixed", 20, 8, "euler", "normal"] })).toEqual([
      expect.stringContaining("denoise"),
    ]);
  });

  it("skip one in the middle by type", () => {
    expect(inputs("KSampler", [7, "fixed", 20, 8, "normal", 0.5])).toMatchObject({ scheduler: "normal", denoise: 0.5 });
  });

  it("drop one of an input that was removed, and say so", () => {
    expect(inputs("Sized", ["area", 64, "text", "gone"])).toEqual({ method: "area", width: 64, text: "text" });
    expect(notes("Sized", { widgets: ["area", 64, "text", "gone"] })).toEqual([expect.stringContaining('"gone"')]);
    expect(inputs("Sized", [["gone"], "area", 64, "text"])).toEqual({ method: "area", width: 64, text: "text" });
  });

  it("keep their places where the class has made a widget a connection since", () => {
    const text = { name: "text", type: "STRING", widget: "text" };
    const node = uiNode("1", "Restyled", { inputs: [text], widgets: ["old", "", ""] });
    const giver = uiNode("2", "PrimitiveString", { outputs: ["STRING"], widgets: ["new"] });
    const result = converted(uiGraph([node, giver], [["2", 0, "1", 0]]));
    expect(inputsOf(result, "1")).toEqual({ style: "old", text: ["2", 0] });
  });

  it("are refused when one fits nothing while an input has none", () => {
    const refused = convertUi(expanded(one("Sized", { widgets: ["area", "sixty", "text"], title: "Size" })), lookup);
    expect(refused).toMatchObject({
      ok: false,
      code: "invalid_workflow",
      errors: [{ path: "/workflow/nodes/1", reason: expect.stringContaining("object_info") }],
    });
  });
});

describe("inputs inside of a dynamic one", () => {
  it("have their default where the file is older than they are", () => {
    expect(inputs("Nested", ["mp4", "h264"])).toEqual({
      kind: "mp4",
      "kind.codec": "h264",
      "kind.codec.speed": "slow",
    });
  });
});

describe("slots that are no inputs", () => {
  it.each([[["a.png", "image", 64]], [["a.png", null, 64]], [["a.png", "", "image", 64]], [["a.png", 64]]])(
    "an upload button in %j",
    (widgets) => {
      expect(inputs("Loaded", widgets)).toEqual({ image: "a.png", width: 64 });
    },
  );

  it("an upload button that the file stores whole", () => {
    const button = { name: "upload", type: "button", options: { serialize: false } };
    expect(inputs("Loaded", ["a.png", button, 64])).toEqual({ image: "a.png", width: 64 });
  });

  it("an upload button behind all that must be set, also where no file is chosen", () => {
    expect(inputs("LoadImageMask", ["a.png", "red", "image"])).toEqual({ image: "a.png", channel: "red" });
    expect(inputs("LoadImageMask", [null, "red", "image"])).toEqual({ channel: "red" });
  });

  it("the switch and the button of a list that the editor fetches", () => {
    const upload = { name: "upload", type: "IMAGEUPLOAD", widget: "upload" };
    expect(inputs("Fetched", ["a.png [output]", false, "refresh", "image"], { inputs: [upload] })).toEqual({
      image: "a.png [output]",
    });
  });

  it("a viewer of the editor has an empty one, whatever the last run put there", () => {
    expect(inputs("ImageCompare", [])).toEqual({ compare_view: { __value__: ["", ""] } });
    expect(inputs("ImageCompare", [["/view?filename=a.png"]])).toEqual({ compare_view: { __value__: ["", ""] } });
    expect(notes("ImageCompare", { widgets: [] })).toEqual([]);
    expect(inputs("SaveGLB", ["mesh/a"])).toMatchObject({ filename_prefix: "mesh/a", image: "" });
  });

  it("connections and forced inputs have none", () => {
    expect(inputs("Forced", [64])).toEqual({ size: 64 });
  });
});

describe("values by name", () => {
  it("stand above those by position, and a contradiction is said", () => {
    const sketch = { widgets: ["area", 64, "text"], namedWidgets: { method: "lanczos", width: 64, text: "text" } };
    expect(inputsOf(converted(one("Sized", sketch)), "1")).toEqual({ method: "lanczos", width: 64, text: "text" });
    expect(notes("Sized", sketch)).toEqual([expect.stringContaining('"method" is "lanczos" by name and "area"')]);
  });

  it("do for a class that nobody described", () => {
    const namedWidgets = { size: 5, seed: 7, control_after_generate: "fixed" };
    expect(inputs("Stranger", [5, 7, "fixed"], { namedWidgets, inputs: [{ link: "x" }] })).toEqual({
      size: 5,
      seed: 7,
    });
  });

  it("may be of inputs that the bundled tables do not know yet, and not of ones that the server does not", () => {
    const namedWidgets = { filename_prefix: "a", quality: 90 };
    expect(inputs("SaveImage", ["a", 90], { namedWidgets })).toEqual({ filename_prefix: "a", quality: 90 });
    expect(inputs("Forced", [64], { namedWidgets: { size: 64, gone: 1 } })).toEqual({ size: 64 });
  });

  it("of an object are all inputs but the preview", () => {
    const widgets = { frame_rate: 8, format: "video/h264-mp4", crf: 19, videopreview: { hidden: false } };
    expect(inputs("VHS_VideoCombine", widgets, { inputs: [{ link: "x" }] })).toEqual({
      frame_rate: 8,
      format: "video/h264-mp4",
      crf: 19,
    });
  });

  it("of the shell stand above the node's own", () => {
    expect(inputs("Sized", ["area", 64, "text"], { overrides: { width: 32 } })?.width).toBe(32);
  });
});

describe("a class that nobody described", () => {
  const slots = [
    { name: "image", type: "IMAGE", link: "x" },
    { name: "seed", type: "INT", widget: "seed" },
    { name: "mode", type: "COMBO", widget: "mode" },
  ];
  it("has the widgets that the file names, in order", () => {
    expect(inputs("Stranger", [7, "randomize", "fast"], { inputs: slots })).toEqual({ seed: 7, mode: "fast" });
  });

  it.each([
    ["more values than names", [7, "randomize", "fast", 3]],
    ["fewer values than names", [7]],
  ])("is refused with %s", (_what, widgets) => {
    const refused = convertUi(expanded(one("Stranger", { widgets, inputs: slots })), lookup);
    expect(refused).toMatchObject({
      ok: false,
      code: "workflow_format_ui",
      detail: expect.stringContaining("Stranger"),
    });
  });

  it("is refused when the names are old conversions, whose order says nothing", () => {
    const old = [
      { name: "height", type: "INT", widget: "height", link: "x" },
      { name: "width", type: "INT", widget: "width", link: "y" },
    ];
    const refused = convertUi(expanded(one("Stranger", { widgets: [512, 768], inputs: old })), lookup);
    expect(refused).toMatchObject({ ok: false, code: "workflow_format_ui" });
  });
});

describe("inputs of the newest kind", () => {
  it("of a dynamic choice are those of the option that was chosen", () => {
    expect(inputs("Dynamic", ["a lamp", "large", "2K", true, 7])).toEqual({
      prompt: "a lamp",
      model: "large",
      "model.side": "2K",
      "model.keep": true,
      seed: 7,
    });
    expect(inputs("Dynamic", ["a lamp", "small", 32, 7])).toEqual({
      prompt: "a lamp",
      model: "small",
      "model.width": 32,
      seed: 7,
    });
  });

  it("that are lists of values are wrapped, so that they are no links", () => {
    expect(inputs("Many", [["a", "b"]])).toEqual({ models: { __value__: ["a", "b"] } });
  });

  it("that grow keep their dotted names", () => {
    const graph = uiGraph(
      [
        uiNode("g", "Give", { outputs: ["IMAGE"] }),
        uiNode("t", "Grown", { inputs: [{ name: "images.image0" }, { name: "images.image1" }] }),
      ],
      [
        ["g", 0, "t", 0],
        ["g", 0, "t", 1],
      ],
    );
    expect(inputsOf(converted(graph), "t")).toEqual({ "images.image0": ["g", 0], "images.image1": ["g", 0] });
  });
});

describe("widgets of extensions", () => {
  const sockets = { inputs: [{ name: "image", type: "IMAGE" }], outputs: ["MASK"] };

  it("are known by their missing socket", () => {
    expect(inputs("Drawn", [[1, 2, 3], 5], sockets)).toEqual({ curve: { __value__: [1, 2, 3] }, size: 5 });
  });

  it("are none where the input has a socket, as a connection has", () => {
    const connected = { ...sockets, inputs: [...sockets.inputs, { name: "curve", type: "SPLINE" }] };
    expect(inputs("Drawn", [5], connected)).toEqual({ size: 5 });
  });

  it("that list LoRAs are numbered", () => {
    const lora = (name: string) => ({ on: true, lora: name, strength: 1 });
    const stored = [{}, { type: "PowerLoraLoaderHeaderWidget" }, lora("a.safetensors"), lora("b.safetensors"), {}, ""];
    expect(inputs("Power Lora Loader (rgthree)", stored, { inputs: [{ link: "x" }] })).toEqual({
      lora_1: lora("a.safetensors"),
      lora_2: lora("b.safetensors"),
    });
  });

  it("are refused in a form that nobody else can read", () => {
    const graph = one("Drawn", { ...sockets, widgets: [5, { points: [1], closed: true }, 7] });
    expect(convertUi(expanded(graph), lookup)).toMatchObject({ ok: false, code: "invalid_workflow" });
  });
});
