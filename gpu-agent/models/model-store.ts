/**
 * The machine's store of models: each is there once, under its hash, whoever needs it. All slots share it, and so may
 * several agents. A model gets its name when its bytes have been verified, so whatever has a name can be used.
 */
import { createHash } from "node:crypto";
import { chmod, mkdir, open, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BuildModel } from "#contract/build";
import { pause } from "../control/backoff.ts";
import { freeBytes, isCode } from "../state-directory.ts";
import { coveredBytes } from "./byte-ranges.ts";
import { copyFileSource } from "./copy-file-source.ts";
import { asNoSpace, DiskSpace, type StoredBlob } from "./disk-space.ts";
import { DOWNLOAD_LIMITS, type DownloadLimits, download } from "./download.ts";
import { FileLocks } from "./file-lock.ts";
import { type LinkedModel, linkModel } from "./link-model.ts";
import { ModelFailure } from "./model-failure.ts";
import { checkContent, checkFormat } from "./model-format.ts";
import { type FindInRegistry, resolveSource, type SourceSettings } from "./model-source.ts";
import { PartialFile, readJournal } from "./partial-file.ts";
import { Pins } from "./pins.ts";
import { type OnModelProgress, ProgressMeter } from "./progress-meter.ts";
import { type Reach, type ResolveAddresses, systemResolver } from "./public-address.ts";
import { sha256OfFile } from "./sha256-of-file.ts";
import { SourceClient } from "./source-client.ts";
import { blobPath, makeStoreFolders, type StoreFolders, storeFolders, syncFolder } from "./store-folders.ts";

/** Kept free beside the models: a running job writes its outputs to the same disk. */
const RESERVE_BYTES = 2 * 1024 ** 3;
/** Longer than any store's pause between two packets, shorter than a person waits before asking. */
const STALL_MS = 30_000;

export interface ModelStoreOptions {
  /** The store's own; created if need be. */
  readonly folder: string;
  /** How far downloads may reach; `public` unless the owner of the machine says otherwise. */
  readonly reach?: Reach;
  /** Take `file:` sources, which read any file that the agent may read. */
  readonly allowFiles?: boolean;
  /** Formats that are taken beside safetensors, as endings without the dot, such as pth; loading one may run code. */
  readonly allowUnsafe?: readonly string[];
  /** The workspace's own store of models. */
  readonly registry?: FindInRegistry;
  readonly huggingFaceUrl?: string;
  readonly huggingFaceToken?: string;
  readonly civitaiUrl?: string;
  readonly civitaiToken?: string;
  readonly reserveBytes?: number;
  readonly limits?: DownloadLimits;
  readonly stallMs?: number;
  /** Told of each model that goes to make room. */
  readonly onEvict?: (sha256: string, bytes: number) => void;
  readonly resolve?: ResolveAddresses;
  readonly freeBytes?: (folder: string) => Promise<number>;
  /** Unix ms. */
  readonly now?: () => number;
  /** Uniform in [0, 1). */
  readonly chance?: () => number;
  readonly pause?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface EnsureOptions {
  /** Tried in order; the build's own unless given. */
  readonly sources?: readonly string[];
  readonly signal: AbortSignal;
  readonly onProgress?: OnModelProgress;
  /** Keeps the model from being evicted until `unpin` of the same name, or until this process ends: a build's digest. */
  readonly pin?: string;
}

export interface EnsuredModel {
  /** The store's file; never hand it to anything that writes. */
  readonly path: string;
  readonly wasThere: boolean;
}

/** A download that several wait for. */
interface Flight {
  /** What was asked for; another asker's may succeed where this one fails. */
  readonly request: string;
  readonly meter: ProgressMeter;
  readonly done: Promise<EnsuredModel>;
  readonly stop: AbortController;
  askers: number;
}

export class ModelStore {
  readonly #folders: StoreFolders;
  readonly #locks: FileLocks;
  readonly #pins: Pins;
  readonly #space: DiskSpace;
  readonly #client: SourceClient;
  readonly #sources: SourceSettings;
  readonly #allowUnsafe: readonly string[];
  readonly #limits: DownloadLimits;
  readonly #now: () => number;
  readonly #chance: () => number;
  readonly #pause: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly #flights = new Map<string, Flight>();

  private constructor(options: ModelStoreOptions) {
    this.#folders = storeFolders(options.folder);
    this.#pause = options.pause ?? pause;
    this.#now = options.now ?? Date.now;
    this.#chance = options.chance ?? Math.random;
    this.#limits = options.limits ?? DOWNLOAD_LIMITS;
    this.#allowUnsafe = options.allowUnsafe ?? [];
    const reach = options.reach ?? "public";
    this.#sources = {
      reach,
      allowFiles: options.allowFiles ?? false,
      huggingFaceUrl: options.huggingFaceUrl ?? "https://huggingface.co",
      civitaiUrl: options.civitaiUrl ?? "https://civitai.com",
      ...(options.registry === undefined ? {} : { registry: options.registry }),
      ...(options.huggingFaceToken === undefined ? {} : { huggingFaceToken: options.huggingFaceToken }),
      ...(options.civitaiToken === undefined ? {} : { civitaiToken: options.civitaiToken }),
    };
    const { resolve = systemResolver, stallMs = STALL_MS } = options;
    this.#client = new SourceClient({ reach, resolve, stallMs });
    this.#locks = new FileLocks({ folder: this.#folders.locks, pause: this.#pause });
    this.#pins = new Pins(this.#folders.pins);
    this.#space = new DiskSpace({
      folders: this.#folders,
      locks: this.#locks,
      pins: this.#pins,
      reserveBytes: options.reserveBytes ?? RESERVE_BYTES,
      freeBytes: options.freeBytes ?? freeBytes,
      onEvict: options.onEvict ?? (() => undefined),
    });
  }

  static async open(options: ModelStoreOptions): Promise<ModelStore> {
    const store = new ModelStore(options);
    await makeStoreFolders(store.#folders);
    return store;
  }

  /** Closes idle connections. Downloads end by their own signals. */
  close(): void {
    this.#client.close();
  }

  /**
   * Sees to it that a model is on the machine, verified. Whoever asks for one that is on its way waits for that one.
   * @throws ModelFailure; the signal's reason; Error with the system's code
   */
  async ensure(model: BuildModel, options: EnsureOptions): Promise<EnsuredModel> {
    const { signal, onProgress, pin } = options;
    checkFormat(model.filename, this.#allowUnsafe);
    const sources = options.sources ?? model.sources;
    for (;;) {
      signal.throwIfAborted();
      const running = this.#flights.get(model.sha256);
      const flight = running ?? this.#takeOff(model, sources);
      flight.askers += 1;
      const stopListening = onProgress === undefined ? () => undefined : flight.meter.listen(onProgress);
      try {
        await raced(flight.done, signal);
        const landed = await this.#keep(model, pin, signal);
        // Null: it was evicted between the two, by another process that needed room at once.
        if (landed !== null) {
          onProgress?.(flight.meter.progress);
          return { ...landed, wasThere: (await flight.done).wasThere };
        }
      } catch (error) {
        signal.throwIfAborted();
        const isAnotherChance =
          running !== undefined && (running.request !== requestOf(model, sources) || running.stop.signal.aborted);
        if (!isAnotherChance) throw asNoSpace(error);
      } finally {
        stopListening();
        flight.askers -= 1;
        if (flight.askers === 0) flight.stop.abort(new Error("nobody waits for the model any more"));
      }
    }
  }

  /**
   * Puts a model that is here into a build's folder, as `models/<type>/<filename>`.
   * @throws ModelFailure not_here, path_refused, format_refused, bad_safetensors; Error with the system's code
   */
  async link(buildFolder: string, model: BuildModel, signal?: AbortSignal): Promise<LinkedModel> {
    checkFormat(model.filename, this.#allowUnsafe);
    const held = await this.#locks.take(model.sha256, signal);
    try {
      const path = blobPath(this.#folders, model.sha256);
      if ((await sizeOf(path)) === null) {
        throw new ModelFailure("not_here", `${model.filename} is not on this machine; it must be fetched first.`);
      }
      await checkBlob(path, model);
      await this.#touch(model.sha256);
      return await linkModel(path, model.sha256, buildFolder, model);
    } catch (error) {
      throw asNoSpace(error);
    } finally {
      await held.release();
    }
  }

  /** Pins again what a build has, as after a restart of the agent. */
  async pin(name: string, models: readonly Pick<BuildModel, "sha256">[], signal?: AbortSignal): Promise<void> {
    for (const { sha256 } of models) {
      const held = await this.#locks.take(sha256, signal);
      try {
        await this.#pins.add(name, sha256);
      } finally {
        await held.release();
      }
    }
  }

  async unpin(name: string): Promise<void> {
    await this.#pins.remove(name);
  }

  /** All models that are here, those used longest ago first. */
  async list(): Promise<StoredBlob[]> {
    return this.#space.blobs();
  }

  /** Deletes a model unless something needs it. @returns whether it went */
  async evict(sha256: string): Promise<boolean> {
    return this.#space.evict(sha256);
  }

  #takeOff(model: BuildModel, sources: readonly string[]): Flight {
    const stop = new AbortController();
    const meter = new ProgressMeter(model.sizeBytes, this.#now);
    const done = this.#bring(model, sources, meter, stop.signal);
    const flight: Flight = { request: requestOf(model, sources), meter, done, stop, askers: 0 };
    this.#flights.set(model.sha256, flight);
    const land = () => {
      if (this.#flights.get(model.sha256) === flight) this.#flights.delete(model.sha256);
    };
    done.then(land, land);
    return flight;
  }

  /** Under the model's lock: is it here, and if not, from where? */
  async #bring(
    model: BuildModel,
    sources: readonly string[],
    meter: ProgressMeter,
    signal: AbortSignal,
  ): Promise<EnsuredModel> {
    const path = blobPath(this.#folders, model.sha256);
    const partialFolder = join(this.#folders.partial, model.sha256);
    const held = await this.#locks.take(model.sha256, signal, async () => {
      // Another process fetches it; its journal says how far it is.
      const journal = await readJournal(partialFolder).catch(() => null);
      if (journal === null) return;
      meter.setBytes(coveredBytes(journal.spans));
      meter.enter("waiting", journal.origins.at(-1)?.host ?? null);
    });
    try {
      const wasThere = await this.#isHere(path, model);
      if (!wasThere) await this.#fetch(model, sources, partialFolder, path, meter, signal);
      // What a process left that was killed just after it had given the model its name.
      else await rm(partialFolder, { recursive: true, force: true });
      await this.#touch(model.sha256);
      meter.enter("ready");
      return { path, wasThere };
    } finally {
      await held.release();
    }
  }

  /** A blob of another size than the build says is damaged, or the build is wrong; its hash tells. */
  async #isHere(path: string, model: BuildModel): Promise<boolean> {
    const size = await sizeOf(path);
    if (size === null) return false;
    if (size === model.sizeBytes) {
      await checkBlob(path, model);
      return true;
    }
    if ((await sha256OfFile(path)) === model.sha256) {
      throw new ModelFailure(
        "wrong_size",
        `${model.filename} has ${size} bytes by its hash; the build says ${model.sizeBytes}.`,
      );
    }
    await rm(path, { force: true });
    return false;
  }

  async #fetch(
    model: BuildModel,
    sources: readonly string[],
    partialFolder: string,
    path: string,
    meter: ProgressMeter,
    signal: AbortSignal,
  ): Promise<void> {
    if (sources.length === 0) {
      throw new ModelFailure("no_source", `The build names no source for ${model.filename}, and it is not here.`);
    }
    const partial = await this.#space.withRoomFor(model.sha256, model.sizeBytes, signal, () =>
      PartialFile.open(partialFolder, model.sizeBytes),
    );
    try {
      meter.startAt(coveredBytes(partial.spans));
      const failures: ModelFailure[] = [];
      for (const source of sources) {
        try {
          await this.#fetchFrom(source, model, partial, meter, signal);
          await partial.sync();
          await chmod(partial.bytesPath, 0o444);
          await mkdir(dirname(path), { recursive: true, mode: 0o700 });
          await rename(partial.bytesPath, path);
          await syncFolder(dirname(path));
          await partial.remove();
          return;
        } catch (error) {
          signal.throwIfAborted();
          // A full disk, or right bytes that are no model: another source would give no better.
          if (!(error instanceof ModelFailure) || error.code === "bad_safetensors") throw error;
          failures.push(error);
        }
      }
      throw combined(model, failures);
    } finally {
      const isEmpty = partial.spans.length === 0;
      await partial.close();
      if (isEmpty) await partial.remove();
    }
  }

  /** From one source to verified bytes. @throws ModelFailure; the signal's reason */
  async #fetchFrom(
    source: string,
    model: BuildModel,
    partial: PartialFile,
    meter: ProgressMeter,
    signal: AbortSignal,
  ): Promise<void> {
    const resolved = await resolveSource(source, model.sha256, this.#sources, signal);
    const sourceId = createHash("sha256").update(source).digest("hex").slice(0, 16);
    for (;;) {
      // Bytes of an earlier run, or of another source, may be what is wrong.
      const isMixed = partial.spans.length > 0;
      meter.enter("downloading", resolved.host);
      if (resolved.kind === "file") await copyFileSource(resolved.path, partial, meter, signal);
      else {
        await download({
          client: this.#client,
          source: resolved,
          sourceId,
          partial,
          limits: this.#limits,
          chance: this.#chance,
          pause: this.#pause,
          onBytes: (bytes) => meter.addBytes(bytes),
          signal,
        });
      }
      meter.enter("verifying", resolved.host);
      const found = await partial.sha256();
      if (found === model.sha256) {
        await this.#checkArrived(model, partial);
        return;
      }
      await partial.startOver();
      meter.startAt(0);
      if (!isMixed) {
        const what = `${resolved.host} gave other bytes: sha256 ${model.sha256} was expected, ${found} was found.`;
        throw new ModelFailure("wrong_hash", what);
      }
    }
  }

  async #checkArrived(model: BuildModel, partial: PartialFile): Promise<void> {
    try {
      await checkContent(model.filename, model.sizeBytes, (position, length) => partial.read(position, length));
    } catch (error) {
      // These bytes are the promised ones and will not become better.
      if (error instanceof ModelFailure) await partial.remove();
      throw error;
    }
  }

  /** Pins what is here before anybody may evict it. @returns null when it is gone */
  async #keep(model: BuildModel, pin: string | undefined, signal: AbortSignal): Promise<{ path: string } | null> {
    const path = blobPath(this.#folders, model.sha256);
    const held = await this.#locks.take(model.sha256, signal);
    try {
      if ((await sizeOf(path)) !== model.sizeBytes) return null;
      await checkBlob(path, model);
      if (pin !== undefined) await this.#pins.add(pin, model.sha256);
      return { path };
    } finally {
      await held.release();
    }
  }

  async #touch(sha256: string): Promise<void> {
    const path = join(this.#folders.used, sha256);
    const at = new Date(this.#now());
    try {
      await utimes(path, at, at);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
      await writeFile(path, "", { mode: 0o600 });
      await utimes(path, at, at);
    }
  }
}

function requestOf({ filename, sizeBytes }: BuildModel, sources: readonly string[]): string {
  return JSON.stringify([filename, sizeBytes, sources]);
}

/** A blob may have come under another name, with another loader. */
async function checkBlob(path: string, model: BuildModel): Promise<void> {
  const file = await open(path, "r");
  try {
    await checkContent(model.filename, (await file.stat()).size, async (position, length) => {
      const buffer = new Uint8Array(length);
      const { bytesRead } = await file.read(buffer, 0, length, position);
      return buffer.subarray(0, bytesRead);
    });
  } finally {
    await file.close();
  }
}

/** One source's failure as it is; of several, what each of them said. */
function combined(model: BuildModel, failures: readonly ModelFailure[]): ModelFailure {
  const [first] = failures;
  if (first === undefined) throw new RangeError("no failure to tell of");
  // What may pass by itself decides, so that it is tried again.
  const told = failures.find(({ retryable }) => retryable) ?? first;
  const reasons = failures.map(({ message }) => message).join(" ");
  return new ModelFailure(told.code, `${model.filename} could not be fetched. ${reasons}`, { cause: told });
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isCode(error, "ENOENT") || isCode(error, "ENOTDIR")) return null;
    throw error;
  }
}

/** The promise, or the signal's reason if that comes first; the promise goes on. */
async function raced<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
