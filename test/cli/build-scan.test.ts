import { chmodSync, existsSync, readFileSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BuildManifest, buildDigest } from "#contract/build";
import { runHere } from "#test/cli/command-line";
import { node, textToImage } from "../workflow/graphs.ts";
import { ComfyInstallation, programRuns, runningComfy } from "./comfyui-install.ts";

/** Installations are git checkouts: a machine without git has none to scan. */
const hasGit = programRuns("git");

let install: ComfyInstallation;
beforeEach(() => {
  install = new ComfyInstallation();
});
afterEach(() => install.remove());

const out = () => join(install.root, "build.json");
const written = () => JSON.parse(readFileSync(out(), "utf8"));
function scan(...options: string[]) {
  const argv = ["build", "scan", "--comfyui-dir", install.folder, ...options];
  return runHere(argv, { env: { PATH: process.env.PATH ?? "", PILOTLIGHT_STATE_DIR: install.state } });
}
async function scanned(...options: string[]) {
  const result = await scan("--json", ...options);
  return { ...result, ...JSON.parse(result.stdout) };
}

describe.skipIf(!hasGit)("pilotlight build scan", () => {
  it("makes a whole build of an installation, and changes nothing in it", async () => {
    const pack = install.clonePack("ComfyUI-Fancy");
    install.write(join(install.folder, "custom_nodes/comfyui-plain/.tracking"), "x");
    const toml = '[project]\nname = "ComfyUI-Plain"\nversion = "1.10.0"\n[tool.comfy]\nname = "no"\n';
    install.write(join(install.folder, "custom_nodes/comfyui-plain/pyproject.toml"), toml);
    install.write(join(install.folder, "custom_nodes/off.disabled/__init__.py"), "");
    install.write(join(install.folder, "custom_nodes/__pycache__/x.pyc"), "");
    const sha256 = install.model("checkpoints/model.safetensors", "weights");
    install.model("checkpoints/other.safetensors", "other weights");
    const workflow = install.write(join(install.root, "graph.json"), JSON.stringify(textToImage()));
    const before = install.git(install.folder, "status", "--porcelain", "--ignored");
    const monitor = install.write(
      join(install.root, "monitor.sh"),
      `#!/bin/sh\ntouch '${join(install.root, "ran")}'\n`,
    );
    chmodSync(monitor, 0o755);
    for (const checkout of [install.folder, pack]) install.git(checkout, "config", "core.fsmonitor", monitor);

    const result = await scanned("--workflow", workflow, "--hash", "--out", out());
    expect([result.code, result.data.missing, result.data.warnings]).toEqual([
      0,
      [],
      [
        "The launch flags are not known; ComfyUI's own defaults are taken.",
        expect.stringContaining("No source is known of model.safetensors"),
      ],
    ]);
    const manifest = BuildManifest.parse(written());
    expect(manifest).toMatchObject({
      baseComfyVersion: "0.3.64",
      comfyRepository: pathToFileURL(join(install.root, "remotes/comfy")).href,
      comfyCommit: install.head(install.folder),
      environment: { os: "linux", arch: "x64", pythonVersion: "3.11.7", torch: "2.7.0" },
      pipDependencies: ["numpy==2.0.0", "torch==2.7.0"],
      customNodes: [
        {
          name: "ComfyUI-Fancy",
          repository: pathToFileURL(join(install.root, "remotes/ComfyUI-Fancy")).href,
          gitRef: install.head(pack),
        },
        { name: "comfyui-plain", id: "comfyui-plain", registryVersion: "1.10.0" },
      ],
      models: [{ type: "checkpoints", filename: "model.safetensors", sha256, sizeBytes: 7, sources: [] }],
    });
    expect(result.data.digest).toBe(await buildDigest(manifest));
    expect(existsSync(join(install.root, "ran"))).toBe(false);
    install.git(install.folder, "config", "--unset", "core.fsmonitor");
    expect(install.git(install.folder, "status", "--porcelain", "--ignored")).toBe(before);
  });

  it("takes flags, classes and models' folders from the running ComfyUI", async () => {
    const argv = [
      "main.py",
      "--listen",
      "0.0.0.0",
      "--lowvram",
      "--cache-lru",
      "10",
      "--port",
      "8188",
      "--fast",
      "fp16",
    ];
    const classes = {
      CheckpointLoaderSimple: {
        input: { required: { ckpt_name: [["model.safetensors"]] } },
        output: ["MODEL", "CLIP", "VAE"],
      },
      EmptyLatentImage: {
        input: { required: { width: ["INT", {}], height: ["INT", {}], batch_size: ["INT", {}] } },
        output: ["LATENT"],
      },
      Other: { input: {} },
    };
    const running = await runningComfy({ comfyui_version: "0.3.60", python_version: "3.11.7 (main)", argv }, classes);
    try {
      const graph = textToImage({ fancy: node("FancyUnknown", { image: ["decode", 0] }) });
      const workflow = install.write(join(install.root, "graph.json"), JSON.stringify(graph));
      install.model("checkpoints/model.safetensors", "weights");
      const excerpt = join(install.root, "excerpt.json");
      const options = ["--workflow", workflow, "--hash", "--object-info-out", excerpt, "--out", out()];
      const { code, data, error } = await scanned("--url", running.url, ...options);
      expect([code, error]).toEqual([0, undefined]);
      expect(written().launch).toEqual({ flags: ["--lowvram", "--cache-lru", "10", "--fast", "fp16"], cache: "lru" });
      expect(Object.keys(JSON.parse(readFileSync(excerpt, "utf8")))).toEqual([
        "CheckpointLoaderSimple",
        "EmptyLatentImage",
      ]);
      expect(data.warnings).toEqual(
        expect.arrayContaining([
          "The running ComfyUI is 0.3.60 and the folder's is 0.3.64: is it the same one?",
          "Flags of this machine alone are left out: --listen, --port.",
          expect.stringMatching(/does not know these classes of the workflow: .*FancyUnknown/),
        ]),
      );
    } finally {
      running.close();
    }
    const wrong = await runningComfy({ argv: 7 }, {});
    try {
      const { code, stderr } = await scan("--comfyui-url", wrong.url);
      expect([code, stderr]).toEqual([1, expect.stringContaining("does not answer as ComfyUI does")]);
    } finally {
      wrong.close();
    }
  });

  it("names what is pinned to nothing, keeps what is known, and fails", async () => {
    const dirty = install.clonePack("dirty", { "a.py": "", "b.py": "" });
    install.write(join(dirty, "a.py"), "changed");
    install.write(join(dirty, "new.py"), "");
    const ahead = install.clonePack("ahead");
    install.write(join(ahead, "more.py"), "");
    install.commit(ahead);
    install.git(install.clonePack("orphan"), "remote", "remove", "origin");
    install.write(join(install.folder, "custom_nodes/handmade/__init__.py"), "");
    install.write(
      join(install.folder, "custom_nodes/copied/pyproject.toml"),
      "[project]\nname = 'copied'\nversion = '2.0'\n",
    );
    install.write(join(install.folder, "custom_nodes/single.py"), "");
    install.interpreter("numpy==2.0.0\n-e /home/me/pack\n");
    const workflow = install.write(join(install.root, "graph.json"), JSON.stringify(textToImage()));

    const { code, stderr } = await scan("--workflow", workflow, "--out", out());
    expect(code).toBe(1);
    expect(stderr).toContain("error: The build is not whole: 6 things are not pinned (build_incomplete)");
    expect(stderr).toMatch(/\/customNodes\/3\/repository: handmade comes from no repository that is known/);
    expect(stderr).toMatch(/\/customNodes\/3\/gitRef: handmade is pinned to no commit/);
    expect(stderr).toMatch(/\/customNodes\/4\/repository: orphan comes from no repository/);
    expect(stderr).toMatch(/\/pipDependencies\/1: "-e \/home\/me\/pack" is a folder of one machine/);
    expect(stderr).toMatch(/\/models\/0\/sha256: the sha256 of checkpoints\/model\.safetensors is not known/);
    expect(stderr).toMatch(/warning: dirty has changes that its commit does not hold \(a\.py, new\.py\)/);
    expect(stderr).toMatch(/warning: ahead is at a commit that no branch of its remote is known to hold/);
    expect(stderr).toMatch(/warning: copied is no checkout of git, and is taken for version 2\.0 of copied/);
    expect(stderr).toMatch(/warning: custom_nodes\/single\.py is a single file/);
    expect(stderr).not.toContain("websocket_image_save");
    expect(stderr).toMatch(/warning: checkpoints\/model\.safetensors is not in this installation/);
    expect(written().customNodes[3]).toEqual({ name: "handmade", repository: null, gitRef: null });
    const digest = await runHere(["build", "digest", out()]);
    expect([digest.code, digest.stderr]).toEqual([1, expect.stringContaining("build_incomplete")]);
  });

  it("is content with a draft when told so", async () => {
    install.write(join(install.folder, "custom_nodes/handmade/__init__.py"), "");
    const { code, data } = await scanned("--draft", "--out", out());
    expect([code, data.complete, data.digest]).toEqual([0, false, null]);
    expect(data.missing.map(({ path }: { path: string }) => path)).toEqual([
      "/customNodes/0/repository",
      "/customNodes/0/gitRef",
    ]);
    expect(written()).toEqual({ schema: "distribution-definition/0", ...data.build });
  });

  it("keeps passwords out of the build and of what it prints", async () => {
    const pack = install.clonePack("private");
    install.git(pack, "remote", "set-url", "origin", "https://me:hunter2@example.com/private.git");
    install.interpreter("pack @ https://me:hunter2@example.com/pack-1.0-py3-none-any.whl\n");
    const { stdout, stderr, data } = await scanned("--out", out());
    expect(`${stdout}${stderr}${readFileSync(out(), "utf8")}`).not.toContain("hunter2");
    expect(data.build.customNodes[0].repository).toBe("https://example.com/private.git");
    expect(data.warnings).toContain("private had a user name or password in its address, which is left out.");
  });

  it("reads a model once, and again when it has changed", async () => {
    const sha256 = install.model("loras/sub/a.safetensors", "one");
    const model = async (...options: string[]) => {
      const { data, error } = await scanned("--all-models", "--out", out(), ...options);
      return { sha256: written().models[0].sha256, code: error?.code ?? data.schema };
    };
    expect(await model()).toEqual({ sha256: null, code: "build_incomplete" });
    expect(await model("--hash")).toEqual({ sha256, code: "build/1" });
    expect(await model()).toEqual({ sha256, code: "build/1" });
    const changed = install.model("loras/sub/a.safetensors", "two");
    utimesSync(join(install.folder, "models/loras/sub/a.safetensors"), 1, 1);
    expect((await model()).sha256).toBeNull();
    expect((await model("--hash")).sha256).toBe(changed);
    install.write(join(install.state, "model-hashes.json"), "broken");
    expect((await model()).sha256).toBeNull();
    expect((await model("--hash")).sha256).toBe(changed);
  });

  it("shows how far the hashing is", async () => {
    install.model("loras/a.safetensors", "one");
    const { stderr } = await scan("--all-models", "--hash", "--progress", "plain");
    expect(stderr).toMatch(/█ 3 B of 3 B {2}loras\/a\.safetensors/);
  });

  it("finds models in further folders, behind links, and not in circles", async () => {
    const big = join(install.root, "disk");
    install.write(join(big, "loras/detail.safetensors"), "d");
    install.write(join(big, "more/style.safetensors"), "s");
    install.write(join(big, "loras/readme.txt"), "no model");
    symlinkSync(big, join(big, "loras/circle"));
    install.write(
      join(install.folder, "extra_model_paths.yaml"),
      `mine:\n  base_path: ${big}\n  is_default: true\n  loras: |\n    loras\n    more\n  custom_nodes: nodes\n`,
    );
    install.model("text_encoders/put_text_encoders_here", "");
    install.model("clip/encoder.safetensors", "e");
    const { data } = await scanned("--all-models", "--hash", "--out", out());
    expect(data.warnings).toContain(
      "extra_model_paths.yaml names further custom nodes, which are not looked into: add them by hand.",
    );
    const named = written().models.map(({ type, filename }: Record<string, string>) => `${type}/${filename}`);
    expect(named).toEqual(
      expect.arrayContaining(["clip/encoder.safetensors", "loras/detail.safetensors", "loras/style.safetensors"]),
    );
    expect(named.length).toBeLessThan(10);

    const graph = {
      1: node("CLIPLoader", { clip_name: "encoder.safetensors", type: "sd3" }),
      2: node("SaveImage", { images: ["1", 0], filename_prefix: "x" }),
    };
    const workflow = install.write(join(install.root, "graph.json"), JSON.stringify(graph));
    await scanned("--workflow", workflow, "--hash", "--out", out());
    expect(written().models).toMatchObject([{ type: "text_encoders", filename: "encoder.safetensors", sizeBytes: 1 }]);
  });

  it("looks where the running ComfyUI was told to look", async () => {
    const base = join(install.root, "base");
    install.write(join(base, "models/vae/a.safetensors"), "a");
    install.write(join(base, "custom_nodes/handmade/__init__.py"), "");
    const more = install.write(join(install.root, "more.yaml"), `x:\n  vae: ${join(install.root, "vae")}\n`);
    install.write(join(install.root, "vae/b.safetensors"), "b");
    const argv = [
      "main.py",
      `--base-directory=${base}`,
      "--extra-model-paths-config",
      join(install.root, "none"),
      more,
    ];
    const running = await runningComfy({ argv }, {});
    try {
      const { data } = await scanned("--url", running.url, "--all-models", "--draft");
      expect(data.build.models).toMatchObject([{ filename: "a.safetensors" }, { filename: "b.safetensors" }]);
      expect(data.build.customNodes).toMatchObject([{ name: "handmade" }]);
    } finally {
      running.close();
    }
  });

  it("does not take another file for the one that the workflow's author named", async () => {
    const sha256 = install.model("checkpoints/model.safetensors", "weights");
    const said = "b".repeat(64);
    const note = {
      name: "model.safetensors",
      directory: "checkpoints",
      url: "https://example.com/model.safetensors",
      hash: said,
      hash_type: "SHA256",
    };
    const editor = {
      nodes: [
        {
          id: 1,
          type: "CheckpointLoaderSimple",
          properties: { models: [note] },
          widgets_values: ["model.safetensors"],
        },
      ],
      links: [],
      version: 0.4,
    };
    const workflow = install.write(
      join(install.root, "workflow.json"),
      JSON.stringify({ prompt: textToImage(), workflow: editor }),
    );
    const { data } = await scanned("--workflow", workflow, "--hash", "--out", out());
    expect(data.warnings).toContain(
      `checkpoints/model.safetensors is another file here than the workflow says: sha256 ${sha256}, and not ${said}.`,
    );
    expect(data.build.models).toMatchObject([{ sha256, sources: [] }]);
  });

  it.each([
    [["build", "scan"], 2, "--comfyui-dir is missing"],
    [["build", "scan", "--comfyui-dir", "/nonexistent/comfy"], 1, "there is no such folder"],
    [["build", "scan", "--comfyui-dir", import.meta.dirname], 1, "it holds no main.py and nodes.py"],
  ])("refuses %j", async (argv, exitCode, sentence) => {
    const { code, stderr } = await runHere(argv);
    expect([code, stderr]).toEqual([exitCode, expect.stringContaining(sentence)]);
  });

  it("asks for an interpreter where none lies beside the installation, and says which cannot be asked", async () => {
    install.git(install.folder, "clean", "-qfdX", "venv");
    const none = await scanned("--draft");
    expect(none.data.missing.map(({ path }: { path: string }) => path)).toContain("/pipDependencies");
    expect(none.data.warnings[0]).toContain("name ComfyUI's with --python");
    const wrong = await scan("--python", "/nonexistent/python");
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining("there is no such program")]);
  });

  it("reads a version from pyproject.toml, and no commit where there is no git", async () => {
    install.write(join(install.folder, "comfyui_version.py"), "");
    install.write(
      join(install.folder, "pyproject.toml"),
      '[tool.x]\nversion = "9"\n[project]\nversion = "0.3.63" # now\n',
    );
    rmSync(join(install.folder, ".git"), { recursive: true });
    const { data } = await scanned("--draft");
    expect(data.build).toMatchObject({ baseComfyVersion: "0.3.63", comfyCommit: null, comfyRepository: null });
    expect(data.missing[0].reason).toContain("refs/tags/v0.3.63");
  });
});
