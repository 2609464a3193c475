import { describe, expect, it } from "vitest";
import { WORKFLOW_NODES_MAX } from "#contract/limits";
import { WORKFLOW_ERRORS_MAX } from "#workflow/check-graph";
import { importWorkflow } from "#workflow/import-workflow";
import { imported, type Nodes, node, refused, sampler, textToImage } from "./graphs.ts";
import { nodeClass } from "./ui/object-info.ts";

/** The paths of the errors of a refused graph. */
async function wrongPlaces(graph: unknown): Promise<string[]> {
  const refusal = await refused(graph);
  expect(refusal.code).toBe("invalid_workflow");
  return (refusal.errors ?? []).map((error) => error.path);
}

const picture = (more: Nodes = {}): Nodes => ({
  a: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }),
  save: node("SaveImage", { filename_prefix: "ComfyUI", images: ["a", 0] }),
  ...more,
});

describe("a document that is no graph", () => {
  it.each(["", "{", "null", "[]", '"text"', "12", "{}", "[[1]]", '{"prompt":{}}', '{"a":1} x', '{"a":1,"a":2}'])(
    "%s is refused",
    async (text) => {
      const result = await importWorkflow({ text });
      expect(result).toMatchObject({ ok: false, code: "invalid_workflow" });
    },
  );

  it.each([{ nodes: [] }, { workflow: { nodes: [], links: [] } }, { nodes: [{ id: 1, type: "Note" }] }])(
    "%j has no node that runs",
    async (document) => {
      const refusal = await refused(document);
      expect(refusal.code).toBe("invalid_workflow");
      expect(refusal.detail).toContain("no node that runs");
    },
  );
});

describe("a document that people take for a workflow", () => {
  const described = { SaveImage: nodeClass("SaveImage", { images: ["IMAGE"] }) };

  it.each([
    ["a comfy-pack's snapshot", { python: "3.12", comfyui: "abc", models: [], custom_nodes: [] }, "workflow_api.json"],
    ["a Manager's snapshot", { comfyui: "abc", git_custom_nodes: {}, file_custom_nodes: [] }, "snapshot"],
    ["an answer of GET /object_info", described, "as object_info"],
    ["a ViewComfy form", { file_type: "view_comfy", workflows: [] }, "as view_comfy"],
  ])("such as %s is called by its name", async (_what, document, words) => {
    const refusal = await refused(document);
    expect(refusal.code).toBe("invalid_workflow");
    expect(refusal.detail).toContain(words);
  });
});

describe("the editor's format", () => {
  const slot = (name: string, type: string, link: number) => ({ name, type, link });
  const nodes = [
    {
      id: 1,
      type: "EmptyImage",
      order: 0,
      widgets_values: [64, 32, 1, 0],
      outputs: [{ name: "IMAGE", type: "IMAGE" }],
    },
    { id: 2, type: "SaveImage", order: 1, widgets_values: ["lamp"], inputs: [slot("images", "IMAGE", 9)] },
  ];
  const editor = { last_node_id: 2, nodes, links: [[9, 1, 0, 2, 0, "IMAGE"]], version: 0.4 };

  it.each([
    ["bare", editor],
    ["in an envelope", { workflow: editor }],
    ["in two", { input: { workflow: editor, images: [] } }],
  ])("is converted, %s", async (_how, document) => {
    const { graph } = await imported(document);
    expect(JSON.parse(graph)).toEqual({
      "1": {
        class_type: "EmptyImage",
        inputs: { width: 64, height: 32, batch_size: 1, color: 0 },
        _meta: { title: "EmptyImage" },
      },
      "2": {
        class_type: "SaveImage",
        inputs: { filename_prefix: "lamp", images: ["1", 0] },
        _meta: { title: "Save Image" },
      },
    });
  });

  it("is refused by its own code when only object_info could say what the values of a class are", async () => {
    const stranger = { id: 3, type: "Stranger", order: 2, widgets_values: [5], inputs: [slot("image", "IMAGE", 9)] };
    const refusal = await refused({ ...editor, nodes: [...nodes, stranger] });
    expect(refusal.code).toBe("workflow_format_ui");
    expect(refusal.detail).toContain("Stranger");
    expect(refusal.detail).toContain("object_info");
    expect(refusal.detail).toContain("Export (API)");
    expect(refusal.errors?.map((error) => error.path)).toEqual(["/workflow/nodes/3"]);
  });

  it("is read with the object_info that the caller sends", async () => {
    const stranger = { id: 3, type: "Stranger", order: 2, widgets_values: [5], inputs: [slot("image", "IMAGE", 9)] };
    const objectInfo = {
      Stranger: nodeClass("Stranger", { image: ["IMAGE"], strength: ["INT", { default: 1, min: 0, max: 9 }] }),
    };
    const { graph } = await imported({ ...editor, nodes: [...nodes, stranger] }, { objectInfo });
    expect(JSON.parse(graph)["3"].inputs).toEqual({ strength: 5, image: ["1", 0] });
  });

  it("has error paths that name the editor's nodes", async () => {
    const wrong = { id: 3, type: "SaveImage", widgets_values: ["x"], inputs: [slot("images", "IMAGE", 10)] };
    const links = [...editor.links, [10, 1, 4, 3, 0, "IMAGE"]];
    expect(await wrongPlaces({ ...editor, nodes: [...nodes, wrong], links })).toEqual([
      "/workflow/nodes/3/inputs/images",
    ]);
  });

  it("says what the conversion had to assume", async () => {
    const { warnings } = await imported({ ...editor, nodes: [{ ...nodes[0], widgets_values: [64, 32, 1] }, nodes[1]] });
    expect(warnings).toContainEqual(expect.stringContaining("has no value for color"));
  });
});

describe("a wrapped graph", () => {
  it.each(["prompt", "workflow", "workflow_api", "output"])("under %s is taken out", async (field) => {
    const { classes } = await imported({ [field]: picture(), client_id: "x", extra_data: {} });
    expect(classes).toEqual(["EmptyImage", "SaveImage"]);
  });

  it("is taken out of the form that serverless wrappers use", async () => {
    const { classes } = await imported({ input: { workflow: picture(), images: [] } });
    expect(classes).toEqual(["EmptyImage", "SaveImage"]);
  });

  it("is preferred to the editor's format beside it", async () => {
    const { classes } = await imported({ workflow: { nodes: [], links: [] }, prompt: picture() });
    expect(classes).toEqual(["EmptyImage", "SaveImage"]);
  });

  it("has error paths that lead through the wrapping", async () => {
    expect(await wrongPlaces({ prompt: { ...picture(), b: 5 } })).toEqual(["/workflow/prompt/b"]);
  });

  it("may start with a byte order mark", async () => {
    expect(await importWorkflow({ text: `\uFEFF${JSON.stringify(picture())}` })).toMatchObject({ ok: true });
  });
});

describe("a wrong node is named by its place", () => {
  it.each([
    ["a number", 5, "/workflow/b"],
    ["null", null, "/workflow/b"],
    ["a list", [], "/workflow/b"],
    ["no class_type", { inputs: {} }, "/workflow/b/class_type"],
    ["a class_type that is no text", { class_type: 7, inputs: {} }, "/workflow/b/class_type"],
    ["an empty class_type", { class_type: "", inputs: {} }, "/workflow/b/class_type"],
    ["a class_type with a line break", { class_type: "A\nB", inputs: {} }, "/workflow/b/class_type"],
    ["no inputs", { class_type: "A" }, "/workflow/b/inputs"],
    ["inputs that are a list", { class_type: "A", inputs: [] }, "/workflow/b/inputs"],
  ])("%s", async (_what, value, path) => {
    expect(await wrongPlaces({ ...picture(), b: value })).toEqual([path]);
  });

  it.each(["", "__proto__", "constructor", "a/b", "a~b", "a\nb", "x".repeat(200), " a"])("the id %j", async (id) => {
    const graph = JSON.stringify(picture()).replace('"a":', `${JSON.stringify(id)}:`);
    const result = await importWorkflow({ text: graph });
    expect(result).toMatchObject({ ok: false, code: "invalid_workflow" });
  });

  it.each(["5", "10:5", "1:2:3", "2.0.0.1", "positive_prompt", "Load Checkpoint", "prüfung"])(
    "but not the id %j",
    async (id) => {
      const { classes } = await imported({
        [id]: node("EmptyImage", {}),
        save: node("SaveImage", { images: [id, 0] }),
      });
      expect(classes).toContain("EmptyImage");
    },
  );

  it("a field called __proto__", async () => {
    const text = `{"a":{"class_type":"EmptyImage","inputs":{"__proto__":{"polluted":true}}}}`;
    const result = await importWorkflow({ text });
    expect(result).toMatchObject({ ok: false, errors: [{ path: "/workflow/a/inputs/__proto__" }] });
    expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
  });

  it("all of them at once, up to a limit", async () => {
    const wrong = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`n${index}`, 0]));
    const refusal = await refused({ ...picture(), ...wrong });
    expect(refusal.errors).toHaveLength(WORKFLOW_ERRORS_MAX);
    expect(refusal.detail).toContain("199 more");
  });
});

describe("a wrong link", () => {
  it.each([
    ["to a node that does not exist", ["99", 0]],
    ["to the node itself", ["save", 0]],
    ["with a negative output", ["a", -1]],
    ["with a broken output", ["a", 0.5]],
    ["beyond the class's outputs", ["a", 1]],
    ["with an output beyond all numbers", ["a", 2n ** 70n]],
    ["without an output", ["a"]],
    ["with an output as text", ["a", "0"]],
    ["with a third part", ["a", 0, 1]],
    ["with the node's id as a number", [5, 0]],
  ])("%s", async (_what, link) => {
    const graph = picture({ save: node("SaveImage", { filename_prefix: "x", images: link }) });
    expect(await wrongPlaces(graph)).toEqual(["/workflow/save/inputs/images"]);
  });

  it("in a circle names every node of the circle", async () => {
    const graph = picture({
      b: node("ImageInvert", { image: ["c", 0] }),
      c: node("ImageInvert", { image: ["d", 0] }),
      d: node("ImageInvert", { image: ["b", 0] }),
    });
    expect((await wrongPlaces(graph)).sort()).toEqual(["/workflow/b", "/workflow/c", "/workflow/d"]);
  });

  it("past the declared outputs is allowed for a class that ends in any", async () => {
    const objectInfo = { Any: { input: { required: {} }, output: ["*"], output_node: false } } as never;
    const graph = picture({ any: node("Any", {}), save: node("SaveImage", { images: ["any", 3] }) });
    expect((await imported(graph, { objectInfo })).classes).toContain("Any");
  });
});

describe("a graph that cannot give anything", () => {
  it("is refused when all its classes are known and none saves", async () => {
    expect(await wrongPlaces({ a: node("EmptyImage", { width: 64 }) })).toEqual(["/workflow"]);
  });

  it("is taken when a class is unknown, with a warning", async () => {
    const { outputs, warnings } = await imported({
      a: node("EmptyImage", {}),
      b: node("Mystery", { image: ["a", 0] }),
    });
    expect(outputs).toMatchObject([{ name: "image", node: "b" }]);
    expect(warnings.join(" ")).toContain("Mystery");
  });
});

describe("size", () => {
  const chain = (length: number): Nodes => {
    const nodes: Nodes = { n0: node("EmptyImage", { width: 64, height: 64, batch_size: 1, color: 0 }) };
    for (let index = 1; index < length - 1; index += 1)
      nodes[`n${index}`] = node("ImageInvert", { image: [`n${index - 1}`, 0] });
    return { ...nodes, save: node("SaveImage", { filename_prefix: "x", images: [`n${length - 2}`, 0] }) };
  };

  it("of the most nodes is taken, in one long chain", async () => {
    expect((await imported(chain(WORKFLOW_NODES_MAX))).outputs).toHaveLength(1);
  });

  it("of one node more is refused", async () => {
    const refusal = await refused(chain(WORKFLOW_NODES_MAX + 1));
    expect(refusal).toMatchObject({ code: "invalid_workflow", detail: expect.stringContaining("10001") });
  });

  it("of 100,000 links is refused", async () => {
    const links = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`f${index}`, ["a", 0]]));
    const refusal = await refused(picture({ many: node("Mystery", links) }));
    expect(refusal).toMatchObject({ code: "invalid_workflow", detail: expect.stringContaining("100001 links") });
  });
});

describe("a value no node takes", () => {
  it.each([
    [
      "a side of a million pixels",
      "latent",
      { width: 1_000_000, height: 512, batch_size: 1 },
      "width",
      { minimum: 16, maximum: 16384 },
    ],
    [
      "a batch of a million",
      "latent",
      { width: 512, height: 512, batch_size: 1_000_000 },
      "batch_size",
      { minimum: 1, maximum: 4096 },
    ],
    ["a side of no number", "latent", { width: "wide", height: 512, batch_size: 1 }, "width", { type: "INT" }],
    ["a side of nothing", "latent", { width: null, height: 512, batch_size: 1 }, "width", { type: "INT" }],
    [
      "a side that is not a number",
      "latent",
      { width: Number.NaN, height: 512, batch_size: 1 },
      "width",
      { type: "INT" },
    ],
  ])("%s", async (_what, id, inputs, field, allowed) => {
    const refusal = await refused(textToImage({ [id]: node("EmptyLatentImage", inputs) }));
    expect(refusal.errors).toMatchObject([{ path: `/workflow/${id}/inputs/${field}`, allowed }]);
  });

  it("a seed of 2^64, one more than the most", async () => {
    const refusal = await refused(textToImage({ sampler: sampler({ seed: 2n ** 64n }) }));
    expect(refusal.errors).toMatchObject([
      { path: "/workflow/sampler/inputs/seed", allowed: { maximum: 2n ** 64n - 1n } },
    ]);
  });

  it("but a number as text is read as ComfyUI reads it", async () => {
    const { graph } = await imported(textToImage({ sampler: sampler({ steps: " 30", cfg: "6.5" }) }));
    expect(graph).toContain('"steps":30');
    expect(graph).toContain('"cfg":6.5');
  });

  it("a text with half a character", async () => {
    const text = JSON.stringify(textToImage()).replace("a lamp", "\\ud800");
    const result = await importWorkflow({ text });
    expect(result).toMatchObject({ ok: false, errors: [{ path: "/workflow/positive/inputs/text" }] });
  });
});

describe("a file name that reaches outside ComfyUI's folders", () => {
  const bad = [
    "../secret.png",
    "a/../../secret.png",
    "/etc/passwd",
    "C:/secret.png",
    "c:secret.png",
    "..\\secret.png",
    "a\\b.png",
    "~/x.png",
    "x.png [output]",
    "x.png [temp]",
    "x.png[temp]",
    "x\u0000.png",
    "x\r\n.png",
  ];
  it.each(bad)("is refused in LoadImage: %j", async (image) => {
    const graph = picture({ a: node("LoadImage", { image }) });
    expect(await wrongPlaces(graph)).toEqual(["/workflow/a/inputs/image"]);
  });

  it.each([
    ["LoadImageMask", "image"],
    ["LoadAudio", "audio"],
    ["LoadVideo", "file"],
    ["VHS_LoadVideoPath", "video"],
    ["LoadImageFromFolder", "folder"],
  ])("is refused in %s.%s", async (classType, field) => {
    const graph = picture({ b: node(classType, { [field]: "../x" }), c: node("PreviewAny", { source: ["b", 0] }) });
    expect(await wrongPlaces(graph)).toEqual([`/workflow/b/inputs/${field}`]);
  });

  it.each([
    "photo.png",
    "clipspace/clipspace-mask-1.png [input]",
    "sub/photo (1).png",
    "https://example.com/a.png",
    "фото.png",
  ])("is none of these: %s", async (image) => {
    const { inputs } = await imported(picture({ a: node("LoadImage", { image }) }));
    expect(inputs).toMatchObject([{ name: "image", example: image }]);
  });

  it.each(["../x", "/tmp/x", "a/../../x", "C:\\x", "..\\x", "x\r\ny"])("is refused as a prefix: %j", async (prefix) => {
    const graph = picture({ save: node("SaveImage", { filename_prefix: prefix, images: ["a", 0] }) });
    expect(await wrongPlaces(graph)).toEqual(["/workflow/save/inputs/filename_prefix"]);
  });

  it.each(["ComfyUI", "video/ComfyUI", "%date:yyyy-MM-dd%/x", "a..b"])("is no prefix like %s", async (prefix) => {
    const graph = picture({ save: node("SaveImage", { filename_prefix: prefix, images: ["a", 0] }) });
    expect((await imported(graph)).outputs).toHaveLength(1);
  });

  it.each(["../m.safetensors", "/m.safetensors", "https://x.test/m.safetensors", "..\\m.ckpt"])(
    "is refused as a model: %j",
    async (name) => {
      const graph = textToImage({ model: node("CheckpointLoaderSimple", { ckpt_name: name }) });
      expect(await wrongPlaces(graph)).toEqual(["/workflow/model/inputs/ckpt_name"]);
    },
  );

  it("is no model in a folder, with either slash", async () => {
    for (const name of ["SDXL/m.safetensors", "SDXL\\m.safetensors"]) {
      const graph = textToImage({ model: node("CheckpointLoaderSimple", { ckpt_name: name }) });
      expect((await imported(graph)).classes).toContain("CheckpointLoaderSimple");
    }
  });
});
