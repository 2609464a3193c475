import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ByteSpan, coveredBytes, missingPieces } from "#gpu-agent/models/byte-ranges";
import { readJournal } from "#gpu-agent/models/partial-file";
import type { ModelProgress } from "#gpu-agent/models/progress-meter";
import {
  cleanUp,
  modelOf,
  never,
  onCleanUp,
  SMALL_PIECES,
  SOON,
  safetensors,
  temporaryFolder,
  testStore,
} from "./model-files.ts";
import { type Behaviour, ModelServer } from "./model-server.ts";
import { startChild } from "./start-child.ts";

/** Memory that Linux shows as a disk: a link from the temporary folder to it becomes a copy. */
const OTHER_DISK = "/dev/shm";
const silence = new Promise<void>(() => undefined);
let server: ModelServer;
let folder: string;

beforeEach(async () => {
  server = await new ModelServer().start();
  onCleanUp(() => server.stop());
  folder = await temporaryFolder();
});
afterEach(cleanUp);

const journalOf = async (sha256: string) => (await readJournal(join(folder, "partial", sha256)))?.spans ?? [];

/** Bytes that were asked for again although the journal had them. */
function askedTwice(spans: readonly ByteSpan[], from: number): number {
  return server.seen.slice(from).reduce((sum, { range }) => {
    if (range === null) return sum;
    return (
      sum +
      spans.reduce((all, [start, end]) => all + Math.max(0, Math.min(end, range[1]) - Math.max(start, range[0])), 0)
    );
  }, 0);
}

describe("kill -9 in the middle of a download", () => {
  const bytes = safetensors(95_000);

  it("loses nothing that the journal has, and leaves no lock", async () => {
    const url = server.serve("/model", {
      bytes,
      behave: ({ range }) => ((range?.[0] ?? 0) >= 50_000 ? { hold: { after: 100, until: silence } } : undefined),
    });
    const model = modelOf(bytes, [url]);
    const child = startChild({ do: "ensure", folder, models: [model], pieceBytes: 10_000 });
    await expect.poll(async () => coveredBytes(await journalOf(model.sha256)), SOON).toBe(50_000);
    await child.kill();

    const before = server.seen.length;
    const spans = await journalOf(model.sha256);
    server.serve("/model", { bytes });
    const { path } = await (await testStore(folder)).ensure(model, { signal: never() });
    expect((await readFile(path)).equals(bytes)).toBe(true);
    expect(askedTwice(spans, before)).toBe(0);
    expect(server.seen.length - before).toBe(missingPieces(spans, bytes.byteLength, 10_000).length);
    expect(await readdir(join(folder, "partial"))).toEqual([]);
  });

  it("just after the model got its name leaves nothing behind once it is asked for again", async () => {
    const store = await testStore(folder);
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    await store.ensure(model, { signal: never() });
    const left = join(folder, "partial", model.sha256);
    await mkdir(left);
    await writeFile(join(left, "journal"), `{"version":1,"sizeBytes":${bytes.byteLength}}\n`);
    await store.ensure(model, { signal: never() });
    expect(await readdir(join(folder, "partial"))).toEqual([]);
  });

  it("lets another process that waits for the model go on with it; until then it hears how far it is", async () => {
    let isStuck = true;
    const url = server.serve("/model", {
      bytes,
      behave: ({ range }): Behaviour | undefined =>
        isStuck && (range?.[0] ?? 0) >= 30_000 ? { hold: { after: 100, until: silence } } : undefined,
    });
    const model = modelOf(bytes, [url]);
    const child = startChild({ do: "ensure", folder, models: [model], pieceBytes: 10_000 });
    await expect.poll(async () => coveredBytes(await journalOf(model.sha256)), SOON).toBe(30_000);
    const heard: ModelProgress[] = [];
    const waiting = (await testStore(folder)).ensure(model, {
      signal: never(),
      onProgress: (progress) => heard.push(progress),
    });
    await expect
      .poll(() => heard.at(-1), SOON)
      .toMatchObject({ phase: "waiting", bytesDone: 30_000, source: new URL(url).host });
    isStuck = false;
    await child.kill();
    expect((await readFile((await waiting).path)).equals(bytes)).toBe(true);
  });

  it("at any point of any download ends in the right bytes, and asks for none twice that the journal had", async () => {
    const schedule = fc.record({
      dataBytes: fc.integer({ min: 1, max: 60_000 }),
      pieceBytes: fc.integer({ min: 1_000, max: 20_000 }),
      // After so many requests, counted from each start.
      kills: fc.array(fc.nat(12), { minLength: 1, maxLength: 3 }),
      seed: fc.nat(1_000),
    });
    await fc.assert(
      fc.asyncProperty(schedule, async ({ dataBytes, pieceBytes, kills, seed }) => {
        const content = safetensors(dataBytes, seed);
        let left = Number.POSITIVE_INFINITY;
        const due = { resolve: (): void => undefined };
        const url = server.serve(`/${seed}`, {
          bytes: content,
          behave: () => {
            left -= 1;
            if (left > 0) return undefined;
            due.resolve();
            return { hold: { after: 10, until: silence } };
          },
        });
        const model = modelOf(content, [url]);
        for (const kill of kills) {
          const reached = new Promise<void>((resolve) => {
            due.resolve = resolve;
          });
          left = kill;
          const before = server.seen.length;
          const spans = await journalOf(model.sha256);
          const child = startChild({ do: "ensure", folder, models: [model], pieceBytes });
          await Promise.race([reached, child.said("done")]);
          await child.kill();
          expect(askedTwice(spans, before)).toBe(0);
        }
        left = Number.POSITIVE_INFINITY;
        const store = await testStore(folder, { limits: { ...SMALL_PIECES, pieceBytes } });
        const { path } = await store.ensure(model, { signal: never() });
        expect((await readFile(path)).equals(content)).toBe(true);
        expect(await readdir(join(folder, "partial"))).toEqual([]);
        await store.evict(model.sha256);
      }),
      { numRuns: 4 },
    );
  });
});

describe("a download that is broken off at any point, by anything", () => {
  it("ends in the right bytes", async () => {
    const trouble = fc.oneof(
      { weight: 4, arbitrary: fc.constant<"none">("none") },
      fc.record({ drop: fc.nat(3_000) }),
      fc.record({ status: fc.constantFrom(500, 503, 429, 408) }),
      fc.constant<"stop">("stop"),
      fc.constant<"forget-ranges">("forget-ranges"),
    );
    const schedule = fc.record({
      dataBytes: fc.integer({ min: 0, max: 40_000 }),
      pieceBytes: fc.integer({ min: 500, max: 9_000 }),
      connections: fc.integer({ min: 1, max: 6 }),
      troubles: fc.array(trouble, { maxLength: 30 }),
      etag: fc.constantFrom('"x"', null),
    });
    await fc.assert(
      fc.asyncProperty(schedule, async ({ dataBytes, pieceBytes, connections, troubles, etag }) => {
        const content = safetensors(dataBytes, dataBytes + 1);
        const left = [...troubles];
        let stop = new AbortController();
        const file = {
          bytes: content,
          etag,
          ranges: true,
          behave: (): Behaviour | undefined => {
            const next = left.shift();
            file.ranges = next !== "forget-ranges";
            if (next === undefined || next === "none" || next === "forget-ranges") return undefined;
            if (next !== "stop") return "drop" in next ? { dropAfter: next.drop } : next;
            stop.abort(new Error("stopped"));
            return undefined;
          },
        };
        const model = modelOf(content, [server.serve("/any", file)]);
        const limits = { ...SMALL_PIECES, pieceBytes, connections, triesMax: 40 };
        for (;;) {
          stop = new AbortController();
          const store = await testStore(folder, { limits, pause: () => Promise.resolve() });
          const outcome = await store
            .ensure(model, { signal: stop.signal })
            .catch((error: unknown) => error as Error & { code?: string });
          if (outcome instanceof Error) {
            // Only what was done to it may end it.
            if (!stop.signal.aborted) expect(outcome.code).toMatch(/^source_(?:changed|unreachable)$/);
            continue;
          }
          expect((await readFile(outcome.path)).equals(content)).toBe(true);
          expect(await readdir(join(folder, "partial"))).toEqual([]);
          await store.evict(model.sha256);
          return;
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe("several agents on one machine", () => {
  it("fetch each model once between them, in whatever order they ask, also when one of them is killed", async () => {
    const models = [1, 2, 3, 4].map((seed) => {
      const bytes = safetensors(40_000, seed);
      return modelOf(bytes, [server.serve(`/${seed}`, { bytes })]);
    });
    const start = (turn: number) =>
      startChild({
        do: "ensure",
        folder,
        models: [...models.slice(turn), ...models.slice(0, turn)],
        pieceBytes: 10_000,
      });
    const victim = start(0);
    await victim.said("ready");
    const children = [1, 2, 3].map(start);
    await victim.kill();
    await Promise.all(children.map((child) => child.said("done")));
    const store = await testStore(folder);
    expect((await store.list()).map(({ sha256 }) => sha256).toSorted()).toEqual(
      models.map(({ sha256 }) => sha256).toSorted(),
    );
    const pieces = models.length * Math.ceil((models[0]?.sizeBytes ?? 0) / 10_000);
    // The killed one may have had one request on each of its connections.
    expect(server.seen.length).toBeGreaterThanOrEqual(pieces);
    expect(server.seen.length).toBeLessThanOrEqual(pieces + 4);
  });
});

describe("kill -9 in the middle of making room", () => {
  it("leaves a store that goes on: whole models, no lock, and room is made again", async () => {
    const store = await testStore(folder);
    const models = [1, 2, 3].map((seed) => {
      const bytes = safetensors(40_000, seed);
      return modelOf(bytes, [server.serve(`/${seed}`, { bytes })]);
    });
    for (const model of models) await store.ensure(model, { signal: never() });
    const bytes = safetensors(40_000, 4);
    const wanted = modelOf(bytes, [server.serve("/4", { bytes })]);
    const child = startChild({ do: "evict", folder, model: wanted, capacity: -45_000, stopAfter: 1 });
    await child.said("ready");
    await child.kill();
    expect((await store.list()).length).toBe(2);

    const { path } = await store.ensure(wanted, { signal: never() });
    expect((await readFile(path)).equals(bytes)).toBe(true);
    for (const { sha256 } of await store.list()) expect(await store.evict(sha256)).toBe(true);
    expect(await readdir(join(folder, "used"))).toEqual([]);
  });
});

describe("kill -9 in the middle of linking", () => {
  it.skipIf(!existsSync(OTHER_DISK))(
    "leaves no half model in a build, and nothing of it after the next link",
    async () => {
      const bytes = safetensors(30_000_000);
      const model = modelOf(bytes, [server.serve("/model", { bytes })]);
      const store = await testStore(folder, { limits: { ...SMALL_PIECES, pieceBytes: 16_000_000 } });
      await store.ensure(model, { signal: never() });
      const build = await temporaryFolder(OTHER_DISK);
      const place = join(build, "models", model.type);
      const child = startChild({ do: "link", folder, model, build });
      await child.said("ready");
      await expect
        .poll(async () => (await readdir(place).catch(() => [])).length, { ...SOON, interval: 1 })
        .toBeGreaterThan(0);
      await child.kill();
      // Where the kill came too late, the model is there and whole.
      const named = (await readdir(place)).filter((name) => !name.startsWith("."));
      if (named.length > 0) expect((await stat(join(place, model.filename))).size).toBe(bytes.byteLength);

      const linked = await store.link(build, model);
      expect((await readFile(linked.path)).equals(bytes)).toBe(true);
      expect(await readdir(place)).toEqual([model.filename]);
    },
  );
});

/** Runs a program with a small disk of its own at a folder, which it alone sees, where the system lets users make one. */
const onSmallDisk = (disk: string) => [
  ...["unshare", "--user", "--map-root-user", "--mount"],
  ...["sh", "-c", 'mount -t tmpfs -o size=2m none "$0" && exec "$@"', disk],
];
const [unshare = "", ...words] = onSmallDisk(tmpdir());
const canMount = spawnSync(unshare, [...words, "true"]).status === 0;

/** The child on a small disk. */
const smallDisk = (disk: string) => ({ inside: onSmallDisk(disk) });

describe("a disk that is full", () => {
  let disk: string;
  beforeEach(async () => {
    disk = join(folder, "disk");
    await mkdir(disk);
  });

  it.skipIf(!canMount)("in the middle of a download is said, and the download goes on once there is room", async () => {
    const bytes = safetensors(1_500_000);
    const model = modelOf(bytes, [server.serve("/model", { bytes })]);
    const task = { do: "fill", folder: join(disk, "store"), model, ballast: join(disk, "ballast") } as const;
    const child = startChild(task, smallDisk(disk));
    await child.said("no_space");
    await child.said("done");
    // The first run wrote about as much as there was room for, and the second did not begin anew.
    const asked = server.seen.reduce((sum, { range }) => sum + (range === null ? 0 : range[1] - range[0]), 0);
    expect(asked).toBeLessThan(bytes.byteLength * 1.3);
  });

  it.skipIf(!canMount)("to its last byte still lets an old model make room for a new one", async () => {
    const [one, two] = [safetensors(900_000, 1), safetensors(800_000, 2)];
    const models = [
      modelOf(one, [server.serve("/1", { bytes: one })]),
      modelOf(two, [server.serve("/2", { bytes: two })]),
    ] as const;
    const task = { do: "crowd", folder: join(disk, "store"), models, ballast: join(disk, "ballast") } as const;
    await startChild(task, smallDisk(disk)).said("done");
    expect(server.requests("/2").length).toBeGreaterThan(0);
  });
});
