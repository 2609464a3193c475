import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BuildManifest, buildDigest } from "#contract/build";
import { runHere } from "#test/cli/command-line";
import { BUILD, COMMIT } from "../workflow/build/builds.ts";
import { node, textToImage } from "../workflow/graphs.ts";
import { png, tEXt } from "../workflow/png-chunks.ts";
import { zip } from "../workflow/zip-archives.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-build-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string | Uint8Array | object): string {
  const path = join(folder, name);
  const isRaw = typeof content === "string" || content instanceof Uint8Array;
  writeFileSync(path, isRaw ? content : JSON.stringify(content));
  return path;
}
const snapshot = {
  comfyui: COMMIT,
  git_custom_nodes: { "https://github.com/someone/fancy": { hash: "2".repeat(40), disabled: false } },
  cnr_custom_nodes: { plain: "1.10" },
  file_custom_nodes: [],
  pips: {},
};
const FACTS = ["baseComfyVersion=0.3.64", "os=linux", "arch=x64", "pythonVersion=3.10"].flatMap((fact) => [
  "--set",
  fact,
]);

describe("pilotlight build import", () => {
  it("puts several files together into a whole build", async () => {
    const out = join(folder, "new", "build.json");
    const lock = file("requirements.txt", "torch==2.7.0\nnumpy==2.0.0\n");
    const argv = ["build", "import", file("snapshot.json", snapshot), lock, ...FACTS, "--out", out];
    const { code, stdout } = await runHere(argv);
    expect(code).toBe(0);
    const manifest = BuildManifest.parse(JSON.parse(readFileSync(out, "utf8")));
    expect(manifest).toMatchObject({
      comfyCommit: COMMIT,
      environment: { pythonVersion: "3.10", torch: "2.7.0" },
      customNodes: [{ name: "fancy" }, { name: "plain", registryVersion: "1.10" }],
    });
    expect(stdout).toMatch(new RegExp(`^build     ${await buildDigest(manifest)}$`, "m"));
    expect(stdout).toMatch(/^fancy +222222222222 +https:\/\/github\.com\/someone\/fancy$/m);
    expect(stdout).toContain(`Written to ${out}.`);
    // The order of the files changes nothing where they do not contradict one another.
    const turned = await runHere(["build", "digest", lock, join(folder, "snapshot.json"), out]);
    expect(turned.stdout).toBe(`${await buildDigest(manifest)}\n`);
  });

  it("fails while something is missing, and leaves a draft that can be filled in", async () => {
    const out = join(folder, "draft.json");
    const { code, stderr } = await runHere(["build", "import", file("snapshot.json", snapshot), "--out", out]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("5 things are not pinned (build_incomplete)")]);
    expect(stderr).toContain("/pipDependencies: no Python lock is known: give the requirements.txt");
    const draft = JSON.parse(readFileSync(out, "utf8"));
    expect(draft.environment).toEqual({ os: null, arch: null, pythonVersion: null, torch: null });
    const { environment, pipDependencies, baseComfyVersion } = BUILD;
    const filled = file("filled.json", { ...draft, environment, pipDependencies, baseComfyVersion });
    expect((await runHere(["build", "import", filled])).code).toBe(0);
    expect((await runHere(["build", "import", join(folder, "snapshot.json"), "--draft"])).code).toBe(0);
  });

  it("reads what a workflow says, in a picture and in an archive too", async () => {
    const editor = {
      nodes: [
        { id: 1, type: "Fancy", properties: { cnr_id: "fancy", ver: "1.2.0" } },
        { id: 2, type: "KSampler", properties: { cnr_id: "comfy-core", ver: "0.3.64" } },
      ],
      links: [],
    };
    const graph = JSON.stringify(textToImage());
    const picture = file("fox.png", png(tEXt("prompt", graph), tEXt("workflow", JSON.stringify(editor))));
    const { data } = JSON.parse((await runHere(["build", "import", picture, "--draft", "--json"])).stdout);
    expect(data.build).toMatchObject({
      baseComfyVersion: "0.3.64",
      customNodes: [{ name: "fancy", id: "fancy", registryVersion: "1.2.0" }],
      models: [{ type: "checkpoints", filename: "model.safetensors", sha256: null }],
    });
    const packed = {
      python: "3.11",
      comfyui: COMMIT,
      models: [{ filename: "models/checkpoints/model.safetensors", size: 7, sha256: "a".repeat(64) }],
      custom_nodes: [],
    };
    const archive = zip([
      { name: "workflow_api.json", content: graph },
      { name: "snapshot.json", content: JSON.stringify(packed) },
      { name: "requirements.txt", content: "numpy==2.0.0\n" },
    ]);
    const shown = await runHere(["build", "show", file("app.cpack.zip", archive), "--json"]);
    const { build, missing } = JSON.parse(shown.stdout).data;
    expect(build).toMatchObject({
      pipDependencies: ["numpy==2.0.0"],
      models: [{ sizeBytes: 7, sha256: "a".repeat(64) }],
    });
    expect(missing.map(({ path }: { path: string }) => path)).toEqual([
      ...["/baseComfyVersion", "/environment/os", "/environment/arch"],
    ]);
  });

  it("says that a graph does not name the packs of its classes", async () => {
    const graph = file("graph.json", textToImage({ fancy: node("FancyUnknown", { image: ["decode", 0] }) }));
    const { data } = JSON.parse((await runHere(["build", "show", graph, "--json"])).stdout);
    expect(data.warnings).toEqual([
      expect.stringContaining("which custom nodes bring FancyUnknown is not said: the workflow as the editor saves it"),
    ]);
  });

  it.each([
    ["bomb.yaml", "a: &a [x]\nb: *a", "The alias *a is not followed"],
    ["clip.mp4", "\0\0\0\u0018ftypisom\u00ff", "holds no build"],
    ["wrong.json", { baseComfyVersion: "1.0", models: 7 }, "/models: must be a list"],
    ["binary.bin", new Uint8Array([0xc3, 0x28, 0xff]), "neither text nor a picture"],
  ])("refuses %s", async (name, content, sentence) => {
    const { code, stderr } = await runHere(["build", "import", file(name, content)]);
    expect([code, stderr]).toEqual([1, expect.stringContaining(sentence)]);
    expect(stderr).toContain("(build_unusable)");
  });

  it.each([
    [["build", "import"], "file is missing"],
    [["build", "import", "/nonexistent/a.json"], "there is no such file"],
    [["build", "show", "x", "--set", "a"], "Unknown option"],
    [["build", "import", "x", "--set", "color=red"], "--set takes name=value with one of baseComfyVersion"],
    [["build", "export", "x"], "--format is missing"],
    [["build", "export", "x", "--format", "docker"], "--format is not docker: one of manager-snapshot"],
  ])("%j is wrong use", async (argv, sentence) => {
    const { code, stderr } = await runHere(argv);
    expect([code, stderr]).toEqual([2, expect.stringContaining(sentence)]);
  });

  it("says in its help that it takes several files", async () => {
    expect((await runHere(["build", "import", "--help"])).stdout).toContain(
      "Usage: pilotlight build import <file>… [options]",
    );
    expect((await runHere(["help", "build"])).stdout).toContain("build import <file>…");
  });
});

describe("pilotlight build show", () => {
  it("shows a whole build to people and programs", async () => {
    const path = file("build.json", BUILD);
    const { stdout } = await runHere(["build", "show", path]);
    expect(stdout).toMatch(/^ComfyUI {3}0\.3\.64 at 1{40} of https:\/\/github\.com\/Comfy-Org\/ComfyUI$/m);
    expect(stdout).toMatch(/^Python {4}3\.10 on linux x64, torch 2\.7\.0$/m);
    expect(stdout).toMatch(/^launch {4}cache classic --lowvram$/m);
    expect(stdout).toMatch(/^comfyui-plain +1\.10 +registry: comfyui-plain$/m);
    expect(stdout).toMatch(/^SD\/base\.safetensors +checkpoints +7\.00 GB +aaaaaaaaaaaa +hf:someone/m);
    const { data } = JSON.parse((await runHere(["build", "show", path, "--json"])).stdout);
    expect(Object.keys(data)).toEqual(["schema", "complete", "digest", "build", "missing", "warnings"]);
    expect(data).toMatchObject({ schema: "build/1", complete: true, digest: await buildDigest(BUILD), missing: [] });
  });

  it("shows what a draft lacks, and does not fail", async () => {
    const { code, stdout } = await runHere(["build", "show", file("snapshot.json", snapshot)]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^build {5}\(not whole yet\)$/m);
    expect(stdout).toMatch(/^missing: \/environment\/os: the system is not known/m);
  });

  it("reads standard input, and the build inside a release's package", async () => {
    const { stdout } = await runHere(["build", "digest", "-"], {
      stdin: JSON.stringify({ build: BUILD, workflow: "{}" }),
    });
    expect(stdout).toBe(`${await buildDigest(BUILD)}\n`);
  });
});

describe("pilotlight build export", () => {
  it("writes files into a folder, and says what is lost", async () => {
    const out = join(folder, "pack");
    const { code, stdout, stderr } = await runHere([
      ...["build", "export", file("build.json", BUILD), "--format", "comfy-pack", "--out", out],
    ]);
    expect([code, stdout]).toEqual([0, expect.stringContaining(`Written to ${join(out, "requirements.txt")}.`)]);
    expect(stderr).toContain("lost: the pack comfyui-plain 1.10, which comes from the Comfy registry and not from git");
    expect(JSON.parse(readFileSync(join(out, "snapshot.json"), "utf8"))).toMatchObject({
      comfyui: COMMIT,
      python: "3.10",
    });
    expect(readFileSync(join(out, "requirements.txt"), "utf8")).toBe("numpy==2.0.0\ntorch==2.7.0\n");
  });

  it("prints one file as it is, to be piped on", async () => {
    const argv = ["build", "export", file("build.json", BUILD), "--format", "comfy-build", "--name", "mine"];
    const { stdout } = await runHere(argv);
    expect(stdout).toMatch(/^schema: "comfy-build\/1"\nid: null\nname: "mine"\n/);
    expect(stdout).toMatch(/pipDependencies: \|\n {4}numpy==2\.0\.0\n {4}torch==2\.7\.0\n/);
    const back = await runHere(["build", "show", "-", "--json"], { stdin: stdout });
    expect(JSON.parse(back.stdout).data.missing).toEqual([
      { path: "/baseComfyVersion", reason: expect.stringContaining("ComfyUI's version is not known") },
    ]);
    const { data } = JSON.parse((await runHere([...argv, "--json"])).stdout);
    expect(data).toMatchObject({ format: "comfy-build", files: [{ name: "comfy-build.yaml", content: stdout }] });
  });

  it("does not write a build that is not whole", async () => {
    const { code, stderr } = await runHere([
      ...["build", "export", file("snapshot.json", snapshot), "--format", "manager-snapshot"],
    ]);
    expect([code, stderr]).toEqual([1, expect.stringContaining("build_incomplete")]);
  });
});
