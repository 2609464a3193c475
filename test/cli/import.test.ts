import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { node, textToImage } from "../workflow/graphs.ts";
import { png, tEXt } from "../workflow/png-chunks.ts";
import { zip } from "../workflow/zip-archives.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-import-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}
const graph = JSON.stringify(textToImage());
const custom = JSON.stringify(
  textToImage({ save: node("FancySave", { images: ["decode", 0], sharpness: 3, filename_prefix: "x" }) }),
);
const objectInfo = {
  FancySave: {
    input: {
      required: { images: ["IMAGE"], sharpness: ["INT", { min: 1, max: 9 }], filename_prefix: ["STRING", {}] },
    },
    output: [],
    output_node: true,
    python_module: "custom_nodes.fancy",
  },
};

describe("pilotlight import", () => {
  it("shows inputs, outputs, models and nodes to a person, without a server", async () => {
    const { code, stdout, stderr } = await runHere(["import", file("graph.json", graph)]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^graph\.json: JSON with a graph in API format; 7 nodes\.\n/);
    expect(stdout).toMatch(/bundled tables of ComfyUI's core nodes/);
    expect(stdout).toMatch(/^prompt +string +a lamp +positive\.text$/m);
    expect(stdout).toMatch(/^seed +integer +random +0…18446744073709551615 +sampler\.seed$/m);
    expect(stdout).toMatch(/^image +image +save$/m);
    expect(stdout).toMatch(/^model\.safetensors +checkpoints +model\.ckpt_name +CheckpointLoaderSimple$/m);
    expect(stdout).toMatch(/^CLIPTextEncode +core +core tables +positive negative$/m);
    expect(stdout).not.toMatch(/unknown:|warning:/);
  });

  it("reads the picture that ComfyUI saved, from standard input too", async () => {
    const editor = { nodes: [{ type: "FancySave", properties: { cnr_id: "fancy", ver: "1.0.0" } }], links: [] };
    const picture = png(tEXt("prompt", custom), tEXt("workflow", JSON.stringify(editor)));
    const { code, stdout } = await runHere(["import", file("fox.png", picture)]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^fox\.png: a PNG with a graph in API format; 7 nodes\.$/m);
    expect(stdout).toMatch(/^FancySave +fancy 1\.0\.0 +\(guessed\) +save$/m);
    const piped = await runHere(["import", "-"], { stdin: graph });
    expect(piped.stdout).toMatch(/^standard input: JSON with a graph/);
  });

  it("prints one JSON object of a stable shape", async () => {
    const { code, stdout } = await runHere(["import", file("custom.json", custom), "--json"]);
    expect(code).toBe(0);
    const { schema, ok, data } = JSON.parse(stdout);
    expect([schema, ok]).toEqual(["envelope/1", true]);
    expect(Object.keys(data)).toEqual([
      ...["schema", "file", "container", "format", "name", "files", "object_info", "inputs", "outputs", "models"],
      ...["nodes", "snapshot", "unknown", "warnings", "graph"],
    ]);
    expect(data).toMatchObject({
      schema: "import/1",
      container: "json",
      format: "api",
      object_info: { used: "core_tables", source: null },
      models: [{ folder: "checkpoints", filename: "model.safetensors", node: "model", field: "ckpt_name" }],
      unknown: [expect.stringContaining("FancySave")],
      warnings: [expect.stringContaining("FancySave")],
      graph: { model: { class_type: "CheckpointLoaderSimple" } },
    });
    expect(data.nodes).toContainEqual({
      class: "FancySave",
      nodes: ["save"],
      origin: "unknown",
      package: null,
      described_by: null,
    });
  });

  it("takes types from object_info and changes from overrides", async () => {
    const given = file("object_info.json", JSON.stringify(objectInfo));
    const overrides = file("overrides.json", '{"inputs": {"prompt": {"name": "text"}}}');
    const argv = ["import", file("custom.json", custom), "--object-info", given, "--overrides", overrides, "--json"];
    const { data } = JSON.parse((await runHere(argv)).stdout);
    expect(data).toMatchObject({ object_info: { used: "given", source: given }, unknown: [], warnings: [] });
    expect(data.inputs.map((input: { name: string }) => input.name)).toContain("text");
    expect(data.nodes).toContainEqual({
      class: "FancySave",
      nodes: ["save"],
      origin: "custom",
      package: { id: "fancy", registered: false, version: null },
      described_by: "object_info",
    });
  });

  it("takes a ViewComfy form, beside the graph or as an option", async () => {
    const field = { workflowPath: ["positive", "inputs", "text"], title: "Subject", valueType: "long-text" };
    const form = JSON.stringify({
      appTitle: "Foxes",
      workflows: [{ viewComfyJSON: { inputs: [{ inputs: [field] }] } }],
    });
    const archive = zip([
      { name: "workflow_api.json", content: graph },
      { name: "view_comfy.json", content: form },
      { name: "input/fox.png", content: "x" },
    ]);
    const beside = await runHere(["import", file("app.zip", archive)]);
    expect(beside.stdout).toMatch(/^app\.zip: an archive with a graph in API format; 7 nodes\.$/m);
    expect(beside.stdout).toMatch(/^subject +string +a lamp +positive\.text$/m);
    expect(beside.stdout).toContain("Files beside it: input/fox.png");
    const argv = ["import", file("graph.json", graph), "--view-comfy", file("view_comfy.json", form), "--json"];
    const { data } = JSON.parse((await runHere(argv)).stdout);
    expect(data.inputs).toMatchObject([{ name: "subject", title: "Subject" }]);
    const wrong = await runHere([...argv.slice(0, 3), file("list.json", "[]")]);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining("does not hold a JSON object")]);
  });

  it("is explained by `help import` as by --help", async () => {
    const explained = await runHere(["help", "import"]);
    expect([explained.code, explained.stdout]).toEqual([0, expect.stringContaining("--view-comfy …")]);
    expect(explained.stdout).toBe((await runHere(["import", "--help"])).stdout);
  });

  it("shows what a comfy-pack pins, and where its models come from", async () => {
    const snapshot = {
      python: "3.11",
      comfyui: "abc123",
      models: [
        {
          filename: "models/checkpoints/model.safetensors",
          sha256: "AB12",
          source: { download_url: "https://example.com/model?download=true" },
        },
        { filename: "elsewhere/x.safetensors" },
        7,
      ],
      custom_nodes: [
        { url: "https://github.com/someone/fancy", commit_hash: "def456", disabled: false },
        { url: "https://github.com/someone/off", commit_hash: "0", disabled: true },
        null,
      ],
    };
    const pack = file(
      "app.cpack.zip",
      zip([
        { name: "workflow_api.json", content: custom },
        { name: "snapshot.json", content: JSON.stringify(snapshot) },
      ]),
    );
    const { stdout } = await runHere(["import", pack]);
    expect(stdout).toMatch(
      /^model\.safetensors +checkpoints +model\.ckpt_name +CheckpointLoaderSimple +example\.com$/m,
    );
    expect(stdout).toContain("Snapshot: ComfyUI abc123, Python 3.11\n  https://github.com/someone/fancy at def456\n");
    expect(stdout).toContain("It is one of the snapshot's custom nodes.");
    const { data } = JSON.parse((await runHere(["import", pack, "--json"])).stdout);
    expect(data.models).toMatchObject([{ hash: "sha256:ab12", url: "https://example.com/model?download=true" }]);
    expect(data.snapshot).toEqual({
      comfyui: "abc123",
      python: "3.11",
      custom_nodes: [{ repository: "https://github.com/someone/fancy", ref: "def456" }],
    });
  });

  it("ends with the refusal's code, sentence and places, and exit code 1", async () => {
    const broken = textToImage();
    broken.decode = node("VAEDecode", { samples: ["nobody", 0], vae: ["model", 2] });
    const { code, stdout, stderr } = await runHere(["import", file("broken.json", JSON.stringify(broken))]);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("(invalid_workflow)");
    expect(stderr).toContain("/workflow/decode/inputs/samples");
    const json = await runHere(["import", file("broken.json", JSON.stringify(broken)), "--json"]);
    expect([json.code, JSON.parse(json.stdout)]).toMatchObject([
      1,
      { ok: false, error: { code: "invalid_workflow", errors: [{ path: "/workflow/decode/inputs/samples" }] } },
    ]);
    const video = await runHere(["import", file("clip.mp4", "\0\0\0\u0018ftypisom")]);
    expect([video.code, video.stderr]).toEqual([1, expect.stringContaining("MP4 or MOV video")]);
  });

  it.each([
    ["--object-info", '{"a": 1}', 2, "is not ComfyUI's answer"],
    ["--object-info", "[", 2, "is not JSON"],
    ["--overrides", '{"inputs": {"prompt": {"nome": "x"}}}', 1, "(invalid_body)"],
    ["--overrides", '{"inputs": {"nothing": {"name": "x"}}}', 1, "/overrides/inputs/nothing"],
  ])("refuses a file of %s that holds %s", async (option, content, exitCode, sentence) => {
    const { code, stderr } = await runHere(["import", file("graph.json", graph), option, file("extra.json", content)]);
    expect([code, stderr]).toEqual([exitCode, expect.stringContaining(sentence)]);
  });
});

const SHARED = fileURLToPath(new URL("../../../shared/workflows/", import.meta.url));
const files = existsSync(SHARED) ? readdirSync(SHARED).filter((name) => name.endsWith(".json")) : [];

describe.skipIf(files.length === 0)("real workflows", () => {
  it.each(files)("%s is understood or refused with a reason", async (name) => {
    const { code, stdout } = await runHere(["import", join(SHARED, name), "--json"]);
    const { ok, data, error } = JSON.parse(stdout);
    expect(code).toBe(ok ? 0 : 1);
    if (ok) {
      expect(data.outputs.length).toBeGreaterThan(0);
      expect(data.nodes.length).toBeGreaterThan(0);
    } else {
      expect(error.code).toMatch(/^(invalid_workflow|workflow_format_ui)$/);
      expect(error.message.length).toBeGreaterThan(20);
    }
    // Of these pairs the API file is what ComfyUI itself would run.
    if (name.endsWith(".api.json")) expect(ok).toBe(true);
  });
});
