import { existsSync } from "node:fs";
import { chmod, link, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildModel } from "#contract/build";
import type { ModelStore } from "#gpu-agent/models/model-store";
import { processIdentity } from "#gpu-agent/process-identity";
import { cleanUp, modelOf, never, onCleanUp, safetensors, temporaryFolder, testStore } from "./model-files.ts";
import { ModelServer } from "./model-server.ts";

/** Memory that Linux shows as a disk: another file system than the temporary folder's. */
const OTHER_DISK = "/dev/shm";
const bytes = safetensors(20_000);
let store: ModelStore;
let build: string;
let model: BuildModel;
let blob: string;

beforeEach(async () => {
  const server = await new ModelServer().start();
  onCleanUp(() => server.stop());
  store = await testStore(await temporaryFolder());
  model = modelOf(bytes, [server.serve("/model", { bytes })], { filename: "sd/turbo.safetensors" });
  blob = (await store.ensure(model, { signal: never() })).path;
  build = await temporaryFolder();
});
afterEach(cleanUp);

describe("a model in a build", () => {
  it("is a second name of the store's file", async () => {
    const linked = await store.link(build, model);
    expect(linked).toEqual({
      path: join(build, "models", "checkpoints", "sd", "turbo.safetensors"),
      how: "hardlink",
      wasThere: false,
    });
    expect((await lstat(linked.path)).isFile()).toBe(true);
    expect((await stat(linked.path)).ino).toBe((await stat(blob)).ino);
    expect((await store.list())[0]).toMatchObject({ sha256: model.sha256, links: 1 });
    expect(await store.link(build, model)).toEqual({ ...linked, wasThere: true });
    expect(await readdir(join(build, "models", "checkpoints", "sd"))).toEqual(["turbo.safetensors"]);
  });

  it.skipIf(!existsSync(OTHER_DISK))(
    "on another file system is a copy, which is said and verified",
    async ({ skip }) => {
      const far = await temporaryFolder(OTHER_DISK);
      if ((await stat(far)).dev === (await stat(blob)).dev) skip();
      const linked = await store.link(far, model);
      expect(linked).toMatchObject({ how: "copy", wasThere: false });
      expect((await readFile(linked.path)).equals(bytes)).toBe(true);
      expect(await store.link(far, model)).toMatchObject({ how: "copy", wasThere: true });
      // A copy that was damaged is made again.
      await chmod(linked.path, 0o600);
      await writeFile(linked.path, Buffer.alloc(bytes.byteLength));
      expect(await store.link(far, model)).toMatchObject({ how: "copy", wasThere: false });
      expect((await readFile(linked.path)).equals(bytes)).toBe(true);
    },
  );

  it("takes the place of another file, and of a symbolic link without following it", async () => {
    const folder = join(build, "models", "checkpoints", "sd");
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "turbo.safetensors"), bytes);
    expect(await store.link(build, model)).toMatchObject({ how: "hardlink", wasThere: false });

    const other = await temporaryFolder();
    const target = join(await temporaryFolder(), "keep");
    await writeFile(target, "keep");
    await mkdir(join(other, "models", "checkpoints", "sd"), { recursive: true });
    await symlink(target, join(other, "models", "checkpoints", "sd", "turbo.safetensors"));
    const linked = await store.link(other, model);
    expect((await lstat(linked.path)).isSymbolicLink()).toBe(false);
    expect(await readFile(target, "utf8")).toBe("keep");
  });

  it.each(["models", "models/checkpoints", "models/checkpoints/sd"])(
    "never goes through a symbolic link at %s",
    async (place) => {
      const outside = await temporaryFolder();
      await mkdir(join(build, place, ".."), { recursive: true });
      await symlink(outside, join(build, place));
      await expect(store.link(build, model)).rejects.toMatchObject({ code: "path_refused" });
      expect(await readdir(outside)).toEqual([]);
    },
  );

  it.each([
    { filename: "../out.safetensors" },
    { filename: "a/../../../out.safetensors" },
    { filename: "/etc/out.safetensors" },
    { filename: "a//out.safetensors" },
    { filename: "..\\out.safetensors" },
    { filename: "a\u0000.safetensors" },
    { type: "../checkpoints" },
    { type: ".." },
    { type: "a/b" },
    { type: "" },
  ])("stays inside: %j", async (more) => {
    await expect(store.link(build, { ...model, ...more })).rejects.toMatchObject({ code: "path_refused" });
    expect(await readdir(build)).toEqual([]);
  });

  it("does not replace a folder", async () => {
    await mkdir(join(build, "models", "checkpoints", "sd", "turbo.safetensors"), { recursive: true });
    await expect(store.link(build, model)).rejects.toMatchObject({ code: "path_refused" });
  });

  it("must be in the store first", async () => {
    const missing = { ...model, sha256: "0".repeat(64) };
    await expect(store.link(build, missing)).rejects.toMatchObject({ code: "not_here" });
  });

  it("removes what a process left that was killed in the middle, and nothing of one that lives", async () => {
    const folder = join(build, "models", "checkpoints", "sd");
    await mkdir(folder, { recursive: true });
    const dead = ".linking-999999999-boot%3A1-00000000";
    await link(blob, join(folder, dead));
    const { pid, started } = processIdentity(process.pid);
    const living = `.linking-${pid}-${encodeURIComponent(started ?? "")}-00000000`;
    await writeFile(join(folder, living), "");
    await store.link(build, model);
    expect((await readdir(folder)).toSorted()).toEqual([living, "turbo.safetensors"]);
  });
});
