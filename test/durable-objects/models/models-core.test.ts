import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeId, WorkspaceId } from "#contract/ids";
import { MODEL_BYTES_MAX, MODEL_PART_BYTES, MODELS_BYTES_PER_WORKSPACE_MAX } from "#contract/limits";
import type { Model, NewModelImport } from "#contract/model";
import { type ModelWork, workName } from "#durable-objects/models/model-work";
import { ModelsCore } from "#durable-objects/models/models-core";
import type { ModelRef } from "#durable-objects/models/models-state";
import { NodeDatabase } from "#test/durable-objects/queue/node-database";

const chance = (length: number): Uint8Array => crypto.getRandomValues(new Uint8Array(length));
const WORKSPACE = makeId(WorkspaceId, "ws", 1_800_000_000_000, chance);
const hash = (digit: string): string => digit.repeat(64);
const GIB = 1024 ** 3;

/** A core with a clock that a test turns. */
class Turned {
  now = 1_800_000_000_000;
  readonly db = new NodeDatabase();
  core = this.open();

  open(): ModelsCore {
    return new ModelsCore(this.db, { now: () => this.now, randomBytes: chance });
  }

  begin(sha256: string, size: number, filename = "a.safetensors"): ModelRef {
    const begun = this.core.begin(WORKSPACE, { sha256, size, type: "vae", filename, allow_unsafe: false });
    if (!begun.ok) throw new Error(begun.detail);
    return begun.ref;
  }

  import(source: string, sha256?: string): ModelRef {
    const wanted: NewModelImport = { source, type: "vae", filename: "a.safetensors", allow_unsafe: false };
    const begun = this.core.importFrom(WORKSPACE, sha256 === undefined ? wanted : { ...wanted, sha256 });
    if (!begun.ok) throw new Error(begun.detail);
    return begun.ref;
  }

  get(name: string): Model | null {
    const found = this.core.get(WORKSPACE, name);
    return found.ok ? found.model : null;
  }

  work(running: readonly string[] = []): ModelWork[] {
    return this.core.nextWork(new Set(running));
  }

  /** Leads an import that has begun to where its parts are fetched. */
  toParts(ref: ModelRef, size: number, sha256: string | null = null): void {
    this.core.probed(ref, { size, sha256, ranged: true, validator: '"1"' });
    this.core.opened(ref, "any key", `upload of ${ref.id} ${ref.attempt}`);
  }

  litter(): { key: string; uploadId: string }[] {
    return this.db
      .exec("SELECT object_key, upload_id FROM litter")
      .map((row) => ({ key: String(row.object_key), uploadId: String(row.upload_id) }));
  }
}

const typesOf = (work: readonly ModelWork[]): string[] => work.map(({ type }) => type);

describe("an import", () => {
  it("goes through its steps, three parts at once, each begun once", () => {
    const turned = new Turned();
    const ref = turned.import("https://host.example/a");
    expect(typesOf(turned.work())).toEqual(["probe"]);
    expect(turned.work(turned.work().map(workName))).toEqual([]);
    turned.core.probed(ref, { size: 5 * MODEL_PART_BYTES - 1, sha256: null, ranged: true, validator: '"1"' });
    expect(typesOf(turned.work())).toEqual(["open"]);
    turned.core.opened(ref, "k", "u");
    const parts = turned.work();
    expect(parts.map((work) => (work.type === "part" ? work.part.number : 0))).toEqual([1, 2, 3]);
    expect(turned.work(parts.map(workName))).toEqual([]);
    for (const number of [3, 1, 2, 5, 4]) {
      const size = number === 5 ? MODEL_PART_BYTES - 1 : MODEL_PART_BYTES;
      turned.core.partFetched(ref, { number, etag: `e${number}`, size });
    }
    const [join] = turned.work();
    expect(join?.type === "join" && join.parts.map(({ etag }) => etag)).toEqual(["e1", "e2", "e3", "e4", "e5"]);
    turned.core.joined({ ...ref, key: "k" });
    expect(typesOf(turned.work())).toEqual(["verify"]);
    turned.core.verified(ref, hash("a"), "safetensors");
    expect(turned.get(hash("a"))).toMatchObject({ id: ref.id, status: "ready" });
    expect(turned.core.nextDueAt()).toBeNull();
    expect(turned.litter()).toEqual([]);
  });

  it("waits longer after each failure, starts anew after a success, and is given up after twelve in a row", () => {
    const turned = new Turned();
    const ref = turned.import("https://host.example/a");
    const pauses: number[] = [];
    const fail = (): void => {
      turned.core.failed(ref, "Its source answered 503.");
      const next = turned.core.nextDueAt();
      pauses.push(next === null ? -1 : next - turned.now);
      turned.now = next ?? turned.now;
    };
    for (let count = 0; count < 3; count += 1) fail();
    expect(turned.get(ref.id)).toMatchObject({ status: "importing", notice: "Its source answered 503." });
    turned.toParts(ref, 10);
    expect(turned.get(ref.id)?.notice).toBeNull();
    for (let count = 0; count < 12; count += 1) fail();
    expect(pauses.slice(0, 5)).toEqual([1_000, 2_000, 4_000, 1_000, 2_000]);
    expect(Math.max(...pauses)).toBe(120_000);
    expect(turned.get(ref.id)).toMatchObject({ status: "failed", reason: "Its source answered 503.", notice: null });
    expect(
      turned
        .litter()
        .map(({ uploadId }) => uploadId)
        .toSorted(),
    ).toEqual(["", `upload of ${ref.id} 1`]);
  });

  it("holds no part of an earlier beginning that comes late", () => {
    const turned = new Turned();
    const ref = turned.import("https://host.example/a", hash("b"));
    turned.toParts(ref, 2 * MODEL_PART_BYTES);
    turned.core.refused(ref, "The file changed.");
    const again = turned.import("https://host.example/a", hash("b"));
    expect([again.id, again.attempt]).toEqual([ref.id, 2]);
    turned.toParts(again, 2 * MODEL_PART_BYTES);
    turned.core.partFetched(ref, { number: 1, etag: "late", size: MODEL_PART_BYTES });
    turned.core.failed(ref, "late");
    turned.core.refused(ref, "late");
    expect(turned.get(ref.id)).toMatchObject({ status: "importing", bytes_done: 0, notice: null });
    // What the late one made in the store goes.
    turned.core.opened(ref, "late key", "late upload");
    turned.core.joined({ ...ref, key: "joined late" });
    expect(turned.litter()).toContainEqual({ key: "late key", uploadId: "late upload" });
    expect(turned.litter()).toContainEqual({ key: "joined late", uploadId: "" });
  });

  it("is held up by no other that waits", () => {
    const turned = new Turned();
    const slow = turned.import("https://slow.example/a");
    const quick = turned.import("https://quick.example/a");
    turned.core.failed(slow, "busy");
    expect(turned.work().map((work) => work.type === "probe" && work.model.id)).toEqual([quick.id]);
  });

  it("takes in an upload of the same bytes that nobody has finished, and leads there under both ids", () => {
    const turned = new Turned();
    const upload = turned.begin(hash("c"), 100, "other.safetensors");
    turned.core.opened(upload, "k", "unfinished");
    const ref = turned.import("https://host.example/a");
    turned.toParts(ref, 100, hash("c"));
    expect(turned.get(upload.id)).toMatchObject({ id: ref.id, status: "importing", sha256: hash("c") });
    expect(turned.get(hash("c"))?.places.map(({ filename }) => filename)).toEqual([
      "a.safetensors",
      "other.safetensors",
    ]);
    expect(turned.litter().map(({ uploadId }) => uploadId)).toContain("unfinished");
  });

  it("goes on from where it was when the object is opened again", () => {
    const turned = new Turned();
    const ref = turned.import("https://host.example/a");
    turned.toParts(ref, 2 * MODEL_PART_BYTES);
    turned.core.partFetched(ref, { number: 1, etag: "e", size: MODEL_PART_BYTES });
    turned.core = turned.open();
    expect(turned.core.isBusy()).toBe(true);
    expect(turned.work().map((work) => work.type === "part" && work.part.number)).toEqual([2]);
  });

  it("needs room for its bytes once they are known", () => {
    const turned = new Turned();
    for (let index = 0; index < MODELS_BYTES_PER_WORKSPACE_MAX / MODEL_BYTES_MAX; index += 1) {
      turned.begin(index.toString(16).padStart(64, "0"), index === 0 ? MODEL_BYTES_MAX - GIB : MODEL_BYTES_MAX);
    }
    const fits = turned.import("https://host.example/fits");
    turned.toParts(fits, GIB);
    expect(turned.get(fits.id)?.status).toBe("importing");
    const over = turned.import("https://host.example/over");
    turned.toParts(over, 1);
    expect(turned.get(over.id)).toMatchObject({ status: "failed", reason: expect.stringContaining("Delete some") });
  });
});

/** What a caller, a source and a store may do, in any order and twice. */
const step = fc.record({
  act: fc.constantFrom(
    "begin",
    "import",
    "importHash",
    "part",
    "complete",
    "remove",
    "probed",
    "opened",
    "fetched",
    "joined",
    "verified",
    "failed",
    "refused",
    "later",
    "reopen",
    "swept",
  ),
  one: fc.nat(3),
  two: fc.nat(3),
});

describe("whatever happens, in any order, late or twice", () => {
  it("a hash has one model, the store's keys have one owner, and nothing that counts is swept", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const turned = new Turned();
        turned.begin(hash("9"), 5);
        /** Every beginning there ever was: reports about old ones come as well. */
        const refs: (ModelRef & { key: string })[] = [];
        /** Uploads in parts that the store has and nobody has joined or removed. */
        const open = new Map<string, string>();
        const note = (): void => {
          for (const row of turned.db.exec("SELECT id, attempt, object_key FROM models")) {
            const ref = {
              id: String(row.id) as ModelRef["id"],
              attempt: Number(row.attempt),
              key: String(row.object_key),
            };
            if (!refs.some(({ key }) => key === ref.key)) refs.push(ref);
          }
        };
        for (const { act, one, two } of steps) {
          const sha256 = hash(String(one));
          const ref = refs[(one * 4 + two) % Math.max(1, refs.length)];
          switch (act) {
            case "begin":
              turned.core.begin(WORKSPACE, {
                sha256,
                size: 5,
                type: "vae",
                filename: `${two}.sft`,
                allow_unsafe: false,
              });
              break;
            case "import":
            case "importHash": {
              const wanted = {
                source: `https://h.example/${two}`,
                type: "vae",
                filename: "i.sft",
                allow_unsafe: false,
              };
              turned.core.importFrom(WORKSPACE, act === "import" ? wanted : { ...wanted, sha256 });
              break;
            }
            case "part": {
              const target = turned.core.partTarget(WORKSPACE, sha256, 1);
              if (target.ok && two > 0) {
                const { attempt, size } = target.target;
                turned.core.partStored(WORKSPACE, sha256, { attempt, number: 1, etag: "e", size });
              }
              break;
            }
            case "complete": {
              const planned = turned.core.complete(WORKSPACE, sha256);
              if (planned.ok && planned.join !== null) {
                open.delete(planned.join.model.uploadId ?? "");
                turned.core.joined(planned.join.model);
              }
              break;
            }
            case "remove":
              turned.core.remove(WORKSPACE, sha256);
              break;
            case "probed":
              if (ref !== undefined) {
                const probed = { size: two === 0 ? null : 5, sha256: two === 1 ? sha256 : null, ranged: two > 1 };
                turned.core.probed(ref, { ...probed, validator: two === 2 ? null : '"1"' });
              }
              break;
            case "opened":
              if (ref !== undefined) {
                const uploadId = `u${open.size} ${ref.key} ${turned.now}`;
                open.set(uploadId, ref.key);
                turned.core.opened(ref, ref.key, uploadId);
              }
              break;
            case "fetched":
              if (ref !== undefined) turned.core.partFetched(ref, { number: 1, etag: "e", size: 5 });
              break;
            case "joined":
              if (ref !== undefined) {
                const current = turned.db.exec("SELECT upload_id FROM models WHERE object_key = ?", ref.key)[0]
                  ?.upload_id;
                const size = turned.db.exec("SELECT size FROM models WHERE object_key = ?", ref.key)[0]?.size;
                // The shell joins what has an upload and a known size; it may report late.
                if (typeof current === "string" && typeof size === "number") {
                  open.delete(current);
                  turned.core.joined(ref);
                }
              }
              break;
            case "verified":
              if (ref !== undefined) turned.core.verified(ref, sha256, "safetensors");
              break;
            case "failed":
              if (ref !== undefined) turned.core.failed(ref, "failed");
              break;
            case "refused":
              if (ref !== undefined) turned.core.refused(ref, "refused");
              break;
            case "later":
              turned.now += [1, 1_000, 100_000, 4 * 86_400_000][two] ?? 1;
              turned.work();
              break;
            case "reopen":
              turned.core = turned.open();
              break;
            case "swept": {
              for (const { uploadId } of turned.litter()) if (uploadId !== "") open.delete(uploadId);
              for (const work of turned.work()) if (work.type === "sweep") turned.core.swept(work.litter, true);
              break;
            }
          }
          note();
          turned.now += 1;
        }
        const rows = turned.db.exec("SELECT * FROM models");
        const named = rows.flatMap(({ sha256 }) => (sha256 === null ? [] : [String(sha256)]));
        expect(new Set(named).size).toBe(named.length);
        const litter = turned.litter();
        const live = rows.filter(({ status }) => status !== "failed");
        for (const row of live) expect(litter).not.toContainEqual({ key: row.object_key, uploadId: "" });
        // No upload in parts is forgotten: it is somebody's, or is going to be removed.
        const owned = [...live.map(({ upload_id }) => upload_id), ...litter.map(({ uploadId }) => uploadId)];
        for (const uploadId of open.keys()) expect(owned).toContain(uploadId);
        // Nothing that has something to do is without a time.
        for (const row of live) expect(row.due_at === null).toBe(row.status === "ready");
      }),
      { numRuns: 500 },
    );
  });
});
