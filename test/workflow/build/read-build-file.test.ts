import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { completeBuild, gapsOf } from "#workflow/build/complete-build";
import type { BuildDraft } from "#workflow/build/draft";
import { type BuildFile, readBuildFile } from "#workflow/build/read-build-file";
import { COMMIT } from "./builds.ts";

function read(name: string, document: unknown): BuildFile {
  const file = readBuildFile(name, typeof document === "string" ? document : JSON.stringify(document));
  if (!file.ok) throw new Error(file.detail);
  return file;
}
function refused(name: string, document: unknown) {
  const file = readBuildFile(name, typeof document === "string" ? document : JSON.stringify(document));
  if (file.ok) throw new Error("it was read");
  return file;
}
/** What the gaps say, by place. */
const gaps = (draft: BuildDraft) => Object.fromEntries(gapsOf(draft).map(({ path, reason }) => [path, reason]));

describe("a snapshot of ComfyUI-Manager", () => {
  const snapshot = {
    comfyui: COMMIT,
    git_custom_nodes: {
      "https://github.com/someone/ComfyUI-Fancy.git": { hash: "2".repeat(40), disabled: false },
      "git@github.com:someone/over-ssh.git": { hash: "abc1234", disabled: false },
      "https://github.com/someone/off": { hash: "3".repeat(40), disabled: true },
      "https://user:secret@example.com/private.git": { hash: "4".repeat(40), disabled: false },
    },
    cnr_custom_nodes: { "comfyui-plain": "1.10.0", "comfyui-moving": "nightly" },
    file_custom_nodes: [
      { filename: "single.py", disabled: false },
      { filename: "off.py", disabled: true },
    ],
    pips: { "numpy==2.0.0": "", torch: "2.7.0", wheel: "https://example.com/wheel.whl", "-e /home/me/pack": "" },
  };

  it("pins packs, ComfyUI and packages, and leaves out what was off", () => {
    const { format, draft } = read("snapshot.json", snapshot);
    expect(format).toBe("manager_snapshot");
    expect(draft).toMatchObject({
      comfyRepository: "https://github.com/Comfy-Org/ComfyUI",
      comfyCommit: COMMIT,
      environment: { torch: "2.7.0", pythonVersion: null },
      pipDependencies: ["numpy==2.0.0", "torch==2.7.0", "wheel @ https://example.com/wheel.whl", "-e /home/me/pack"],
      customNodes: [
        { name: "ComfyUI-Fancy", repository: "https://github.com/someone/ComfyUI-Fancy.git", gitRef: "2".repeat(40) },
        { name: "over-ssh", repository: "https://github.com/someone/over-ssh.git", gitRef: "abc1234" },
        { name: "private", repository: "https://example.com/private.git" },
        { name: "comfyui-plain", id: "comfyui-plain", registryVersion: "1.10.0" },
        { name: "comfyui-moving", registryVersion: "nightly" },
      ],
      models: [],
    });
  });

  it("says what it changed and left out, and shows no password", () => {
    const { warnings, draft } = read("snapshot.json", snapshot);
    expect(warnings).toEqual([
      "over-ssh is read over https instead of ssh.",
      "private had a user name or password in its address, which is left out.",
      expect.stringContaining("single.py is a single file"),
    ]);
    expect(JSON.stringify([warnings, draft])).not.toContain("secret");
  });

  it("names each pack and package that is pinned to nothing, and the way out", () => {
    const found = gaps(read("snapshot.json", snapshot).draft);
    expect(found["/customNodes/1/gitRef"]).toBe(
      'over-ssh is at "abc1234", the beginning of a commit: write all its 40 digits',
    );
    expect(found["/customNodes/4/registryVersion"]).toMatch(/^comfyui-moving is at "nightly", which moves: name one/);
    expect(found["/pipDependencies/3"]).toMatch(/^"-e \/home\/me\/pack" is a folder of one machine/);
    expect(Object.keys(found).sort()).toEqual([
      "/baseComfyVersion",
      "/customNodes/1/gitRef",
      "/customNodes/4/registryVersion",
      ...["/environment/arch", "/environment/os", "/environment/pythonVersion", "/pipDependencies/3"],
    ]);
  });

  it("is read as YAML too, versions staying text, and without a lock asks for one", () => {
    const yaml = `comfyui: ${COMMIT}\ngit_custom_nodes: {}\ncnr_custom_nodes:\n  plain: 1.10\npips: {}\n`;
    const { draft } = read("snapshot.yaml", yaml);
    expect(draft.customNodes).toEqual([{ name: "plain", id: "plain", registryVersion: "1.10" }]);
    expect(draft.pipDependencies).toBeNull();
    expect(gaps(draft)["/pipDependencies"]).toContain("requirements.txt");
  });

  it("is refused with the place where it has another shape", () => {
    const wrong = { ...snapshot, git_custom_nodes: { "https://a/b": "x" }, cnr_custom_nodes: { plain: 1.1 } };
    expect(refused("snapshot.json", wrong).errors).toEqual([
      { path: "/git_custom_nodes/https:~1~1a~1b", reason: "must be an object with hash and disabled" },
      { path: "/cnr_custom_nodes/plain", reason: expect.stringContaining('write "1.1" in quotes') },
    ]);
  });
});

describe("a comfy-pack", () => {
  const model = { size: 5, sha256: "A".repeat(64), disabled: false };
  const snapshot = {
    python: "3.11",
    comfyui: COMMIT,
    models: [
      {
        ...model,
        filename: "models/checkpoints/SD/base.safetensors",
        source: { download_url: "https://huggingface.co/me/models/resolve/main/base.safetensors?download=true" },
      },
      {
        ...model,
        filename: "models/loras/a b.safetensors",
        source: { download_url: "https://huggingface.co/me/models/resolve/main/a (1).safetensors" },
      },
      { filename: "models/vae/unknown.safetensors", source: {} },
      {
        ...model,
        filename: "models/loras/c.safetensors",
        source: { download_url: "https://civitai.com/api/download/models/12?token=secret" },
      },
      {
        ...model,
        filename: "models/loras/d.safetensors",
        source: { download_url: "https://example.com/d?token=secret&x=1" },
      },
      { ...model, filename: "models/loras/e.safetensors", source: { url: "ftp://example.com/e" } },
      { ...model, filename: "input/elsewhere.safetensors" },
      { ...model, filename: "models/loras/off.safetensors", disabled: true },
    ],
    custom_nodes: [
      { url: "https://github.com/someone/fancy.git", commit_hash: "2".repeat(40), disabled: false },
      { url: "https://github.com/someone/off", commit_hash: "0", disabled: true },
      { url: null, commit_hash: null },
    ],
  };

  it("pins models by hash, with the sources that an agent can use", () => {
    const { format, draft, warnings } = read("snapshot.json", snapshot);
    expect(format).toBe("comfy_pack");
    expect(draft.models.map(({ type, filename, sources }) => [type, filename, ...sources])).toEqual([
      ["checkpoints", "SD/base.safetensors", "hf:me/models@main/base.safetensors"],
      ["loras", "a b.safetensors", "https://huggingface.co/me/models/resolve/main/a%20(1).safetensors"],
      ["vae", "unknown.safetensors"],
      ["loras", "c.safetensors", "civitai:12"],
      ["loras", "d.safetensors", "https://example.com/d?x=1"],
      ["loras", "e.safetensors"],
    ]);
    expect(draft.models[0]).toMatchObject({ sha256: "a".repeat(64), sizeBytes: 5 });
    expect(draft.environment.pythonVersion).toBe("3.11");
    expect(warnings).toEqual([
      "A custom node (/custom_nodes/2) names no repository and is left out: add it by hand if the workflow needs it.",
      "d.safetensors had a secret in its link, which is left out.",
      "e.safetensors names a source that is no https link, and which is left out.",
      "input/elsewhere.safetensors lies outside of ComfyUI's models folder and is left out.",
    ]);
    expect(JSON.stringify([draft, warnings])).not.toContain("secret=");
  });

  it("lists hashes and sizes that nobody knows, and never makes them up", () => {
    const { draft } = read("snapshot.json", snapshot);
    expect(draft.models[2]).toMatchObject({ sha256: null, sizeBytes: null });
    const found = gaps(draft);
    expect(found["/models/2/sha256"]).toMatch(/^the sha256 of vae\/unknown\.safetensors is not known: `sha256sum`/);
    expect(found["/models/2/sizeBytes"]).toBe("the size of vae/unknown.safetensors in bytes is not known");
    expect(found["/pipDependencies"]).toBeDefined();
  });

  it("is refused where a text or a size is none", () => {
    const wrong = { ...snapshot, python: 3.1, models: [{ filename: "models/a/b", size: -1 }, 7] };
    expect(refused("snapshot.json", wrong).errors.map(({ path }) => path)).toEqual([
      "/models/1",
      "/models/0/size",
      "/python",
    ]);
  });
});

describe("a comfy-build.yaml", () => {
  const yaml = `
schema: comfy-build/1
id: null
name: mine
syncedRevision: null
definition:
  schema: distribution-definition/0
  baseComfyVersion: v0.3.40
  pipDependencies: |
    # captured on Linux
    numpy==2.0.0
    torch==2.7.0+cu128
  environment: {os: Linux, arch: x86_64, pythonVersion: 3.10}
  models:
    - type: text_encoders/gemma
      filename: model.safetensors
      sha256: ${"a".repeat(64)}
      sizeBytes: 12
      sourceUri: https://huggingface.co/me/models/resolve/main/model.safetensors
    - type: loras
      sourceUri: https://example.com/path/detail%20x.safetensors
    - {type: vae, filename: up.safetensors, blobId: blob_1}
  customNodes:
    - {name: fancy, repository: https://github.com/someone/fancy, gitRef: main}
    - {name: plain, id: comfyui-plain, registryVersion: 1.10}
    - {name: handmade, repository: null, gitRef: null}
    - {name: uploaded, blobId: blob_2}
`;

  it("is read with its own words for systems, folders and locks", () => {
    const { format, draft, warnings } = read("comfy-build.yaml", yaml);
    expect(format).toBe("comfy_build");
    expect(draft).toMatchObject({
      baseComfyVersion: "0.3.40",
      comfyCommit: null,
      environment: { os: "linux", arch: "x64", pythonVersion: "3.10", torch: "2.7.0+cu128" },
      pipDependencies: ["numpy==2.0.0", "torch==2.7.0+cu128"],
      launch: null,
    });
    expect(draft.models).toMatchObject([
      { type: "text_encoders", filename: "gemma/model.safetensors", sources: ["hf:me/models@main/model.safetensors"] },
      { type: "loras", filename: "detail x.safetensors", sha256: null },
      { type: "vae", filename: "up.safetensors", sources: [] },
    ]);
    expect(warnings).toEqual([
      "uploaded was uploaded to a service that is not read here.",
      "up.safetensors was uploaded to a service that is not read here: name another source.",
    ]);
  });

  it("asks for the commit behind a tag or a branch, by the command that prints it", () => {
    const found = gaps(read("comfy-build.yaml", yaml).draft);
    expect(found["/comfyCommit"]).toContain("git ls-remote https://github.com/Comfy-Org/ComfyUI refs/tags/v0.3.40");
    expect(found["/customNodes/0/gitRef"]).toContain("git ls-remote https://github.com/someone/fancy main");
    expect(found["/customNodes/2/repository"]).toMatch(/^handmade comes from no repository that is known/);
    const branch = read("a.json", { baseComfyVersion: "master", models: [], customNodes: [] });
    expect(gaps(branch.draft)["/comfyCommit"]).toContain('"master", which may point elsewhere tomorrow');
    expect(read("a.json", { baseComfyVersion: COMMIT }).draft).toMatchObject({ comfyCommit: COMMIT });
  });

  it("is refused when it is of another generation", () => {
    expect(refused("a.yaml", "schema: comfy-build/2\ndefinition: {}").detail).toContain("comfy-build/1 is");
    expect(refused("a.yaml", "schema: distribution-definition/1").detail).toContain("distribution-definition/0 is");
    expect(refused("a.yaml", "schema: comfy-build/1\ndefinition: 7").detail).toContain("no definition");
  });
});

describe("a requirements file", () => {
  it("is a lock, with its indexes, hashes and editable commits", () => {
    const text = [
      "# comment",
      "--index-url https://user:secret@example.com/simple",
      "--extra-index-url=https://example.org/whl",
      "numpy==2.0.0 \\",
      `    --hash=sha256:${"0".repeat(64)}`,
      `-e git+https://token@github.com/someone/pack.git@${COMMIT}#egg=my_pack`,
      "torch>=2   # not exact",
      "-r more.txt",
      "",
    ].join("\r\n");
    const { format, draft, warnings } = read("requirements.txt", text);
    expect(format).toBe("requirements");
    expect(draft.pipIndexes).toEqual(["https://example.com/simple", "https://example.org/whl"]);
    expect(draft.pipDependencies).toEqual([
      `numpy==2.0.0 --hash=sha256:${"0".repeat(64)}`,
      `my_pack @ git+https://github.com/someone/pack.git@${COMMIT}`,
      "torch>=2",
    ]);
    expect(warnings.join("\n")).toMatch(/password[\s\S]*-r more\.txt/);
    expect(JSON.stringify([draft, warnings])).not.toMatch(/secret|token/);
    expect(gaps(draft)["/pipDependencies/2"]).toMatch(/^"torch>=2" does not say which torch: write torch==<version>/);
  });
});

describe("hostile documents", () => {
  const bomb = [
    "a: &a [x,x,x,x,x,x,x,x,x]",
    ..."bcdefghi".split("").map((key, at) => `${key}: &${key} [${`*${"abcdefgh"[at]},`.repeat(9)}]`),
  ];
  it.each([
    ["an alias bomb", bomb.join("\n"), "alias"],
    ["a single alias", "customNodes: &a []\nmodels: *a", "alias"],
    ["deep brackets", `customNodes: ${"[".repeat(50_000)}`, /nested too deeply|not YAML/],
    ["deep blocks", Array.from({ length: 40 }, (_, at) => `${" ".repeat(at)}a:`).join("\n"), "nested too deeply"],
    ["deep JSON", `${'{"a":'.repeat(100)}1${"}".repeat(100)}`, "not JSON"],
    ["too long a text", `{"customNodes":"${"x".repeat(2_100_000)}"}`, "are the most"],
    ["too long a YAML", `models: "${"x".repeat(1_100_000)}"`, "JSON may be longer"],
    ["equal keys", "models: []\nmodels: []", 'The key "models" is there twice'],
    ["a program's tag", "customNodes: !!python/object/apply:os.system [ls]", "it names a program"],
    ["two documents", "models: []\n---\nmodels: []", "not YAML"],
    ["a list as key", "? [a]\n: b", "A key"],
    ["nothing", "", "holds no build"],
    ["a number", "7", "holds no build"],
    ["a graph in API format", '{"1":{"class_type":"KSampler","inputs":{}}}', "API format"],
  ])("%s", (_, text, sentence) => {
    expect(refused("build.yaml", text).detail).toMatch(sentence);
  });

  it("has no way to a prototype", () => {
    const file = read(
      "a.json",
      '{"customNodes":[],"__proto__":{"polluted":1},"environment":{"os":"constructor","arch":"__proto__"}}',
    );
    expect(file.draft.environment).toMatchObject({ os: "constructor", arch: "__proto__" });
    const yaml = read("a.yaml", "git_custom_nodes: {}\ncnr_custom_nodes:\n  __proto__: 1.0\n  constructor: 2.0\n");
    expect(yaml.draft.customNodes.map(({ name }) => name)).toEqual(["__proto__", "constructor"]);
    expect(gaps(yaml.draft)["/customNodes/0/name"]).toContain("cannot be a folder's name");
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it.each([
    ["customNodes", 201],
    ["models", 1_001],
    ["pipDependencies", 2_001],
  ])("a list %s of %d entries is refused", (field, length) => {
    const file = refused("a.json", { baseComfyVersion: "1.0", [field]: Array.from({ length }, () => ({})) });
    expect(file.errors).toContainEqual(
      expect.objectContaining({ path: `/${field}`, reason: expect.stringContaining("are the most") }),
    );
  });

  it.each([
    `{"git_custom_nodes":{"${"a".repeat(1_000_000)}/x":{}}}`,
    `{"customNodes":[{"name":"${"a".repeat(1_000_000)}"}]}`,
    `{"git_custom_nodes":{},"pips":{"${"/".repeat(1_000_000)}x":""}}`,
  ])("a text of a million characters is refused where it stands, %#", (text) => {
    expect(refused("a.json", text).detail).toContain("characters");
  });

  it("a line of a million characters is asked for and not read", () => {
    const { draft, warnings } = read(
      "requirements.txt",
      `pack @ https://me:secret@example.com/${"a".repeat(1_000_000)}`,
    );
    expect([draft.pipDependencies, warnings]).toEqual([["pack"], [expect.stringContaining("is not read")]]);
    const many = read("requirements.txt", `${"a".repeat(9_000)}\n`.repeat(200));
    expect(many.draft.pipDependencies).toHaveLength(200);
  });

  it("a mapping of fifty thousand keys costs no time squared", () => {
    const keys = Array.from({ length: 50_000 }, (_, at) => `p${at}: x`).join("\n");
    expect(refused("a.yaml", `customNodes: []\nenvironment: {}\n${keys}\nid: &a [*a]`).detail).toMatch(
      /alias|not YAML/,
    );
  });

  it("nothing that JSON or YAML can say makes the reader throw, or a build of what is none", () => {
    const keys = fc.constantFrom(
      "schema",
      "definition",
      "customNodes",
      "models",
      "git_custom_nodes",
      "cnr_custom_nodes",
      "pips",
      "custom_nodes",
      "comfyui",
      "environment",
      "pipDependencies",
      "launch",
      "name",
      "id",
      "url",
      "filename",
      "type",
      "sources",
      "source",
      "size",
      "__proto__",
    );
    const leaf = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom("distribution-definition/0", "comfy-build/1", "models/a/b"),
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(keys, tie("value"), { maxKeys: 6 }),
      ),
    }));
    fc.assert(
      fc.property(value, (document) => {
        const file = readBuildFile("a.json", JSON.stringify(document) ?? "");
        if (file.ok) expect(completeBuild(file.draft).ok).toBe(false);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.string(), (text) => void readBuildFile("a.yaml", text)),
      { numRuns: 500 },
    );
  });
});

const SHARED = fileURLToPath(new URL("../../../../shared/workflows/cpack_pixelart.snapshot.json", import.meta.url));

it.skipIf(!existsSync(SHARED))("reads a snapshot that comfy-pack wrote", () => {
  const { format, draft, warnings } = read("snapshot.json", readFileSync(SHARED, "utf8"));
  expect([format, warnings]).toEqual(["comfy_pack", []]);
  expect(draft.models[0]?.sources[0]).toMatch(/^https:\/\/huggingface\.co\/.*%20\(1\)\.safetensors/);
  expect(Object.keys(gaps(draft)).sort()).toEqual([
    "/baseComfyVersion",
    "/environment/arch",
    "/environment/os",
    "/pipDependencies",
  ]);
});
