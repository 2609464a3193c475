import { existsSync } from "node:fs";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BuildModel } from "#contract/build";
import { asNoSpace } from "#gpu-agent/models/disk-space";
import type { ModelStore } from "#gpu-agent/models/model-store";
import {
  cleanUp,
  modelOf,
  never,
  onCleanUp,
  SOON,
  safetensors,
  sha256,
  temporaryFolder,
  testStore,
} from "./model-files.ts";
import { ModelServer } from "./model-server.ts";

/** Every model of these tests has about this size. */
const SIZE = 40_000;
let server: ModelServer;
let folder: string;
let clock: number;
/** Bytes of an imaginary disk that holds nothing but the store. */
let capacity: number;
const evicted: string[] = [];

beforeEach(async () => {
  server = await new ModelServer().start();
  onCleanUp(() => server.stop());
  folder = await temporaryFolder();
  clock = 1_000_000;
  capacity = Number.POSITIVE_INFINITY;
  evicted.length = 0;
});
afterEach(cleanUp);

function open(reserveBytes = 0): Promise<ModelStore> {
  return testStore(folder, {
    reserveBytes,
    now: () => clock,
    freeBytes: async () => capacity - (await storedBytes()),
    onEvict: (hash) => evicted.push(hash),
  });
}

/** What the store's whole models and unfinished ones take. */
async function storedBytes(): Promise<number> {
  let sum = 0;
  for (const name of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!name.isFile() || !/blobs|partial/.test(name.parentPath)) continue;
    // A file may go while they are counted.
    const found = await stat(join(name.parentPath, name.name)).catch(() => null);
    sum += Math.min(found?.size ?? 0, (found?.blocks ?? 0) * 512);
  }
  return sum;
}

function model(seed: number): BuildModel {
  const bytes = safetensors(SIZE, seed);
  return modelOf(bytes, [server.serve(`/${seed}`, { bytes })]);
}

async function bring(store: ModelStore, each: BuildModel, pin?: string): Promise<void> {
  clock += 1_000;
  await store.ensure(each, { signal: never(), ...(pin === undefined ? {} : { pin }) });
}

const here = async (store: ModelStore) => (await store.list()).map((blob) => blob.sha256);

describe("room for a model", () => {
  it("comes from what was used longest ago, and no more of it than is needed", async () => {
    const store = await open();
    const [a, b, c, d] = [model(1), model(2), model(3), model(4)];
    for (const each of [a, b, c]) await bring(store, each);
    // Used again, by asking and by linking.
    await bring(store, a);
    capacity = 3.5 * SIZE;
    await bring(store, d);
    expect(evicted).toEqual([b.sha256]);
    expect(await here(store)).toEqual([c, a, d].map((each) => each.sha256));
  });

  it("is checked before anything is fetched, with the reserve", async () => {
    const store = await open(10_000);
    capacity = SIZE + 9_000;
    await expect(bring(store, model(1))).rejects.toMatchObject({
      code: "no_space",
      retryable: true,
      message: expect.stringMatching(/49\.0 kB free; 40\.\d kB are needed for the model, 10\.0 kB stay in reserve/),
    });
    expect(server.seen).toEqual([]);
    expect(await readdir(join(folder, "partial"))).toEqual([]);
    capacity = SIZE + 11_000;
    await bring(store, model(1));
  });

  it("is never taken from pinned models, in this process or another's store", async () => {
    const store = await open();
    const second = await open();
    const [a, b, c] = [model(1), model(2), model(3)];
    await bring(store, a, "build-a");
    await bring(second, b);
    capacity = 2.5 * SIZE;
    await bring(second, c);
    expect(evicted).toEqual([b.sha256]);
    expect(await second.evict(a.sha256)).toBe(false);
    await store.unpin("build-a");
    expect(await second.evict(a.sha256)).toBe(true);
  });

  it("is never taken from models that a build has", async () => {
    const store = await open();
    const build = await temporaryFolder();
    const [a, b] = [model(1), model(2)];
    await bring(store, a);
    const { path } = await store.link(build, a);
    capacity = 1.5 * SIZE;
    await expect(bring(store, b)).rejects.toMatchObject({ code: "no_space" });
    expect(await here(store)).toEqual([a.sha256]);
    await rm(path);
    await bring(store, b);
    expect(await here(store)).toEqual([b.sha256]);
  });

  it("is not made where it would not be enough", async () => {
    const store = await open();
    const [a, b] = [model(1), model(2)];
    await bring(store, a);
    await bring(store, b, "in-use");
    capacity = 1.9 * SIZE;
    await expect(bring(store, model(3))).rejects.toMatchObject({ code: "no_space" });
    expect(evicted).toEqual([]);
  });

  it("comes first from downloads that nobody goes on with", async () => {
    const store = await open();
    const [a, b, c] = [model(1), model(2), model(3)];
    await bring(store, a);
    server.serve("/2", {
      bytes: safetensors(SIZE, 2),
      behave: ({ range }) => ((range?.[0] ?? 0) > 20_000 ? { status: 404 } : undefined),
    });
    await expect(bring(store, b)).rejects.toMatchObject({ code: "source_denied" });
    expect(await readdir(join(folder, "partial"))).toEqual([b.sha256]);
    capacity = 2.1 * SIZE;
    await bring(store, c);
    expect(evicted).toEqual([]);
    expect(await readdir(join(folder, "partial"))).toEqual([]);
  });

  it("is not promised to two downloads at a time", async () => {
    const [store, second] = [await open(), await open()];
    const gate = Promise.withResolvers<void>();
    const [a, b] = [model(1), model(2)];
    server.serve("/1", {
      bytes: safetensors(SIZE, 1),
      behave: () => ({ hold: { after: 0, until: gate.promise } }),
    });
    capacity = 1.5 * SIZE;
    const first = bring(store, a);
    await expect.poll(() => server.requests("/1").length, SOON).toBeGreaterThan(0);
    await expect(bring(second, b)).rejects.toMatchObject({
      code: "no_space",
      message: expect.stringContaining("for other downloads"),
    });
    gate.resolve();
    await first;
    expect(await here(store)).toEqual([a.sha256]);
  });

  it("that is gone all the same is a clear error, after which the download goes on", () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    expect(asNoSpace(full)).toMatchObject({ code: "no_space", retryable: true });
    const other = new Error("EIO");
    expect(asNoSpace(other)).toBe(other);
  });
});

describe("a pin", () => {
  it("of a process that has ended holds nothing", async () => {
    const store = await open();
    const a = model(1);
    await bring(store, a);
    const left = join(folder, "pins", "build.1.json");
    await writeFile(left, JSON.stringify({ process: { pid: 999_999_999, started: "x" }, sha256: [a.sha256] }));
    expect(await store.evict(a.sha256)).toBe(true);
    expect(existsSync(left)).toBe(false);
  });

  it("that a process was writing when it ended leaves nothing", async () => {
    const store = await open();
    const a = model(1);
    await bring(store, a);
    const dead = "build.1.x.json.999999999.tmp";
    const living = `build.1.x.json.${process.pid}.tmp`;
    for (const name of [dead, living]) await writeFile(join(folder, "pins", name), "{");
    await store.evict(a.sha256);
    expect(await readdir(join(folder, "pins"))).toEqual([living]);
  });

  it("that was half written when the power went is passed over", async () => {
    const store = await open();
    const a = model(1);
    await bring(store, a);
    await writeFile(join(folder, "pins", "build.1.json"), "{");
    expect(await store.evict(a.sha256)).toBe(true);
  });

  it("may be set again for what a build has", async () => {
    const store = await open();
    const [a, b] = [model(1), model(2)];
    await bring(store, a);
    await bring(store, b);
    await store.pin("build", [a, b]);
    await store.pin("build", [a]);
    expect([await store.evict(a.sha256), await store.evict(b.sha256)]).toEqual([false, false]);
    await expect(store.pin("../x", [a])).rejects.toThrow(RangeError);
  });
});

describe("whatever is asked for in whatever order", () => {
  it("pinned models stay, the disk is never overfull, and what goes was used before what stays", async () => {
    const step = fc.record({ seed: fc.integer({ min: 1, max: 6 }), pin: fc.boolean(), unpin: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        async (steps, room) => {
          const parent = await temporaryFolder();
          folder = join(parent, "store");
          await mkdir(folder);
          capacity = (room + 0.5) * SIZE;
          const store = await open();
          const pins = new Set<string>();
          const usedAt = new Map<string, number>();
          for (const { seed, pin, unpin } of steps) {
            const wanted = model(seed);
            const before = new Set(await here(store));
            const mustFit = before.has(wanted.sha256) || pins.size < room;
            try {
              await bring(store, wanted, pin ? wanted.sha256 : undefined);
              usedAt.set(wanted.sha256, clock);
              if (pin) pins.add(wanted.sha256);
            } catch (error) {
              expect(error).toMatchObject({ code: "no_space" });
              expect(mustFit).toBe(false);
            }
            const after = await here(store);
            for (const pinned of pins) expect(after).toContain(pinned);
            expect(await storedBytes()).toBeLessThanOrEqual(capacity);
            const gone = [...before].filter((hash) => !after.includes(hash));
            const stayed = after.filter((hash) => before.has(hash) && !pins.has(hash) && hash !== wanted.sha256);
            for (const old of gone) {
              for (const kept of stayed) expect(usedAt.get(old) ?? 0).toBeLessThan(usedAt.get(kept) ?? 0);
            }
            if (unpin) {
              pins.delete(wanted.sha256);
              await store.unpin(wanted.sha256);
            }
          }
          await rm(parent, { recursive: true });
        },
      ),
      { numRuns: 15 },
    );
  });
});

describe("a file of the machine", () => {
  it("needs room like any other", async () => {
    const bytes = safetensors(SIZE, 1);
    const path = join(await temporaryFolder(), "own.safetensors");
    await writeFile(path, bytes);
    capacity = SIZE / 2;
    const store = await testStore(folder, { allowFiles: true, freeBytes: () => Promise.resolve(capacity) });
    const own = modelOf(bytes, [pathToFileURL(path).href]);
    expect(own.sha256).toBe(sha256(bytes));
    await expect(store.ensure(own, { signal: never() })).rejects.toMatchObject({ code: "no_space" });
  });
});
