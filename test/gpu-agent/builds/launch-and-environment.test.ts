import { describe, expect, it } from "vitest";
import { BuildManifest, buildDigest } from "#contract/build";
import { buildLaunch } from "#gpu-agent/builds/build-launch";
import { bytesNeeded, checkManifest } from "#gpu-agent/builds/check-manifest";
import { compareClasses, importFailures } from "#gpu-agent/builds/compare-classes";
import { installEnvironment, offlineEnvironment } from "#gpu-agent/builds/environments";

function manifestOf(more: Partial<BuildManifest> = {}): BuildManifest {
  return BuildManifest.parse({
    schema: "distribution-definition/0",
    baseComfyVersion: "0.33.0",
    comfyRepository: "https://git.example.org/comfyui",
    comfyCommit: "0".repeat(40),
    environment: { os: "linux", arch: "x86_64", pythonVersion: "3.11", torch: null },
    pipDependencies: [],
    pipIndexes: [],
    customNodes: [],
    models: [],
    launch: { flags: [], cache: "default" },
    ...more,
  });
}

function launchOf(launch: BuildManifest["launch"]) {
  const manifest = manifestOf({ launch });
  const marker = { digest: "d".repeat(64), manifest, madeAt: "2026-01-01T00:00:00Z", steps: [], facts: {} };
  const build = { digest: marker.digest, marker, comfyui: "/b/comfyui", python: "/b/venv/bin/python" };
  return buildLaunch(build, { cpuOnly: false, metadata: false, environment: { PATH: "/bin" } });
}

describe("a build's ComfyUI", () => {
  it("is started from its own folder, by its own Python, with nothing left of another's settings", () => {
    expect(launchOf({ flags: [], cache: "default" })).toMatchObject({
      program: "/b/venv/bin/python",
      args: ["/b/comfyui/main.py"],
      cwd: "/b/comfyui",
      extra: [],
      freshUser: true,
    });
  });

  it("has the cache that its manifest names, and the manifest's own number for it where it gives one", () => {
    expect(launchOf({ flags: ["--fast"], cache: "none" }).extra).toEqual(["--cache-none", "--fast"]);
    expect(launchOf({ flags: [], cache: "lru" }).extra).toEqual(["--cache-lru", "100"]);
    expect(launchOf({ flags: ["--cache-lru", "7"], cache: "lru" }).extra).toEqual(["--cache-lru", "7"]);
  });
});

describe("the environment", () => {
  const owners = {
    PATH: "/bin",
    HF_TOKEN: "x",
    AWS_SECRET_ACCESS_KEY: "x",
    SOME_API_KEY: "x",
    PILOTLIGHT_JOIN_TOKEN: "x",
    PYTHONPATH: "/elsewhere",
    VIRTUAL_ENV: "/elsewhere",
    GIT_DIR: "/elsewhere",
    https_proxy: "http://proxy",
    PIP_INDEX_URL: "https://index.example.org",
    CUDA_VISIBLE_DEVICES: "1",
  };

  it("of an install has the way to the network, and no secret and no other Python", () => {
    expect(Object.keys(installEnvironment(owners)).toSorted()).toEqual(
      ["CUDA_VISIBLE_DEVICES", "PATH", "PIP_INDEX_URL", "https_proxy"].toSorted(),
    );
  });

  it("of a running build has no way to the network either", () => {
    const environment = offlineEnvironment(owners);
    for (const name of ["https_proxy", "PIP_INDEX_URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"]) {
      expect(Object.keys(environment)).not.toContain(name);
    }
    expect(environment).toMatchObject({ PATH: "/bin", HF_HUB_OFFLINE: "1", PIP_NO_INDEX: "1", UV_OFFLINE: "1" });
  });
});

describe("a manifest", () => {
  const machine = { platform: "linux", arch: "x64" };
  const check = async (more: Partial<BuildManifest>) => {
    const manifest = manifestOf(more);
    await checkManifest(manifest, await buildDigest(manifest), machine);
  };
  const { environment } = manifestOf();

  it.each(["x86_64", "amd64", "AMD64", "x64", "any"])("for the processor %s is for this one", async (arch) => {
    await expect(check({ environment: { ...environment, arch } })).resolves.toBeUndefined();
  });

  it.each([[{ ...environment, os: "windows" }], [{ ...environment, arch: "arm64" }]])(
    "for another machine is refused: %j",
    async (other) => {
      await expect(check({ environment: other })).rejects.toThrow(/^The build is for /);
    },
  );

  it.each([["--cuda-device", "1"], ["--models-directory=/x"], ["value"]])(
    "with the flags %s is refused",
    async (...flags) => {
      await expect(check({ launch: { flags, cache: "default" } })).rejects.toThrow(/^launch.flags: /);
    },
  );

  it("with torch in its lock needs the room that torch takes", () => {
    const without = bytesNeeded(manifestOf());
    expect(bytesNeeded(manifestOf({ pipDependencies: ["torch==2.7.0"] })) - without).toBeGreaterThan(5 * 1024 ** 3);
  });
});

describe("classes", () => {
  const info = (required: object, more: object = {}) => ({ input: { required }, output: ["IMAGE"], ...more }) as never;

  const load = { "1": { class_type: "Load", inputs: { name: "a.safetensors", value: 1 } } };

  it("fit though the files on the machine are others, and where a type takes more than before", () => {
    const wanted = { Load: info({ name: [["a.safetensors"], {}], value: ["INT", {}] }) };
    const live = { Load: info({ name: ["COMBO", { options: ["b.safetensors"] }], value: ["INT,FLOAT", {}] }) };
    expect(compareClasses(wanted, ["Load"], live, load)).toEqual([]);
  });

  it("fit though another version differs in what the release does not use", () => {
    const wanted = { Load: info({ name: ["STRING"], value: ["INT"], gone: ["INT"] }) };
    const live = { Load: { ...(info({ name: ["STRING"], value: ["INT"] }) as object), output: ["LATENT"] } as never };
    expect(compareClasses(wanted, ["Load"], live, load)).toEqual([]);
  });

  it("do not fit where the release sets an input that is of another type, or gone: ComfyUI would ignore it", () => {
    const wanted = { Load: info({ name: ["STRING"], value: ["INT"] }) };
    expect(compareClasses(wanted, ["Load"], { Load: info({ name: ["IMAGE"] }) }, load)).toEqual([
      "Load's input name is of type IMAGE, and the release was made for STRING.",
      "Load has no input value any more.",
    ]);
  });

  it("that give something else where the release takes it do not fit", () => {
    const graph = { ...load, "2": { class_type: "Save", inputs: { images: ["1", 0] } } };
    const wanted = { Load: info({}) };
    const live = { Load: info({}, { output: ["LATENT"] }), Save: info({}) };
    expect(compareClasses(wanted, ["Load", "Save"], live, graph)).toEqual([
      "Load's output 1 is of type LATENT, and the release was made for IMAGE.",
    ]);
  });

  it("called like an object's own functions are looked up as classes", () => {
    const live = Object.assign(Object.create(null) as Record<string, null>, { constructor: null });
    expect(compareClasses({}, ["constructor"], live, {})).toEqual(["This ComfyUI has no node class constructor."]);
  });

  it("that several packs should bring are named pack by pack", () => {
    const wanted = {
      A: info({}, { python_module: "custom_nodes.one" }),
      B: info({}, { python_module: "custom_nodes.two" }),
      C: info({}, { python_module: "custom_nodes.one" }),
    };
    expect(compareClasses(wanted, ["A", "B", "C"], { A: null, B: null, C: null }, {})).toEqual([
      "This ComfyUI has no node class A, C; the pack one should bring them.",
      "This ComfyUI has no node class B; the pack two should bring it.",
    ]);
  });

  it("of packs that could not be imported have their reason in ComfyUI's log", () => {
    const log = [
      "Traceback (most recent call last):",
      "ModuleNotFoundError: No module named 'cv2'",
      "Cannot import /srv/comfyui/custom_nodes/ComfyUI-Fancy module for custom nodes: No module named 'cv2'",
      "Import times for custom nodes:",
      "   0.0 seconds: /srv/comfyui/custom_nodes/websocket_image_save.py",
      "   1.2 seconds (IMPORT FAILED): /srv/comfyui/custom_nodes/ComfyUI-Fancy",
    ].join("\n");
    expect(importFailures(log)).toEqual([
      "ComfyUI-Fancy: No module named 'cv2'",
      "ComfyUI-Fancy could not be imported",
    ]);
  });
});
