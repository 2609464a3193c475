/**
 * The builds of a machine, one folder for each digest:
 *
 *   builds/<digest>/comfyui/       the checkout; custom_nodes/ and models/ lie inside it
 *   builds/<digest>/venv/          its Python
 *   builds/<digest>/log/           one log for each step
 *   builds/<digest>/build.json     what it is and what was checked; a folder without it is no build
 *   builds/.making-<digest>/       one that is being made
 *   builds/.locks/ .users/ .cache/
 *
 * Slots and agents share it: one makes a build, the others wait; none removes what another uses.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { BuildManifest } from "#contract/build";
import { pause } from "../control/backoff.ts";
import type { Log } from "../log.ts";
import { FileLocks, type HeldLock } from "../models/file-lock.ts";
import { isSameProcess, processIdentity } from "../process-identity.ts";
import { freeBytes, readIdentity } from "../state-directory.ts";
import { BuildFailed, type BuildStep } from "./build-failed.ts";
import { type BuildMarker, readMarker, stepOf, writeMarker } from "./build-journal.ts";
import { bytesNeeded, checkManifest, type Machine } from "./check-manifest.ts";
import { installEnvironment } from "./environments.ts";
import { type BuildListener, type BuildSources, makeBuild } from "./make-build.ts";

/** A build that served within the last hour is likely to serve again soon; making it anew takes minutes. */
const IDLE_MS_MIN = 3_600_000;
const GIB = 1024 ** 3;

const run = promisify(execFile);

export interface BuildStoreOptions {
  /** `<state>/builds`. */
  readonly folder: string;
  readonly sources: BuildSources;
  readonly environment: NodeJS.ProcessEnv;
  /** Stays free for the inputs and outputs of jobs. */
  readonly freeBytesMin: number;
  readonly log: Log;
  readonly machine?: Machine;
  readonly freeBytes?: (folder: string) => Promise<number>;
  /** Unix ms. */
  readonly now?: () => number;
}

export interface PrepareOptions extends BuildListener {
  readonly signal: AbortSignal;
}

/** A build that is whole and will stay until it is released. */
export interface HeldBuild {
  readonly digest: string;
  readonly marker: BuildMarker;
  /** The folder of main.py. */
  readonly comfyui: string;
  readonly python: string;
  /** It is no longer used by this holder. */
  release(): void;
}

export class BuildStore {
  readonly #options: BuildStoreOptions;
  readonly #folder: string;
  readonly #lockFolder: string;
  readonly #locks: FileLocks;
  readonly #users: string;

  constructor(options: BuildStoreOptions) {
    this.#options = options;
    this.#folder = options.folder;
    this.#lockFolder = join(options.folder, ".locks");
    this.#locks = new FileLocks({ folder: this.#lockFolder, pause });
    this.#users = join(options.folder, ".users");
  }

  /**
   * The build of a digest: the one that is here, the one somebody else makes meanwhile, or a new one.
   * @throws BuildFailed; the signal's reason
   */
  async prepare(digest: string, manifest: BuildManifest, options: PrepareOptions): Promise<HeldBuild> {
    await checkManifest(manifest, digest, this.#options.machine ?? process);
    await mkdir(this.#lockFolder, { recursive: true, mode: 0o700 });
    const making = this.#making(digest);
    let shown = "";
    const held = await this.#locks.take(digest, options.signal, async () => {
      const step = asStep(stepOf(making));
      if (step === null || step === shown) return;
      shown = step;
      options.onStep(step);
      options.onDoing?.(`waiting for the build, which another replica of this machine makes: ${step}`);
    });
    try {
      const whole = await this.#whole(digest);
      if (whole === null) await this.#make(digest, manifest, options);
      return await this.#hold(digest);
    } finally {
      await held.release();
    }
  }

  /** Digests of the builds that are whole. */
  async list(): Promise<string[]> {
    const names = await readdir(this.#folder).catch(() => []);
    const whole: string[] = [];
    for (const name of names) if (isDigest(name) && (await this.#whole(name)) !== null) whole.push(name);
    return whole;
  }

  /**
   * Takes away what a removal left behind, and builds that nobody uses, the one used longest ago first, until so many
   * bytes are free. A build's models stay in their store, which frees them by its own rules.
   * @returns digests of the builds that are gone
   */
  async collectGarbage(bytesWanted: number): Promise<string[]> {
    const gone: string[] = [];
    for (const name of await readdir(this.#folder).catch(() => [])) {
      if (name.startsWith(".removing-")) await rm(join(this.#folder, name), { recursive: true, force: true });
    }
    if ((await this.#free()) >= bytesWanted) return gone;
    await mkdir(this.#lockFolder, { recursive: true, mode: 0o700 });
    for (const { digest, folder } of await this.#idle()) {
      const held = await this.#locks.tryTake(digest);
      if (held === null) continue;
      const trash = await this.#setAside(digest, folder, held);
      if (trash === null) continue;
      await rm(trash, { recursive: true, force: true });
      gone.push(digest);
      this.#options.log("build_removed", { digest });
      if ((await this.#free()) >= bytesWanted) break;
    }
    return gone;
  }

  async #make(digest: string, manifest: BuildManifest, options: PrepareOptions): Promise<void> {
    const { sources, environment, log } = this.#options;
    await this.#refuseFullDisk(manifest);
    const folder = this.#making(digest);
    const finalFolder = join(this.#folder, digest);
    // A folder of that name without its marker is what a lost disk left of one.
    await rm(finalFolder, { recursive: true, force: true });
    const startedAt = performance.now();
    const made = await makeBuild({
      digest,
      manifest,
      folder,
      finalFolder,
      cache: join(this.#folder, ".cache"),
      sources,
      environment: installEnvironment(environment),
      folders: { [folder]: "<build>", [this.#folder]: "<builds>" },
      listener: options,
      signal: options.signal,
    });
    const madeAt = new Date(this.#now()).toISOString();
    // The marker must not outlive a power cut that its files do not.
    await run("sync", ["-f", folder]).catch(() => undefined);
    await writeMarker(folder, { digest, manifest, madeAt, steps: [...made.steps], facts: { ...made.facts } });
    await rename(folder, finalFolder);
    log("build_made", {
      digest,
      ms: Math.round(performance.now() - startedAt),
      ...Object.fromEntries(made.steps.filter(({ step }) => asStep(step) !== null).map(({ step, ms }) => [step, ms])),
    });
  }

  /** @throws BuildFailed disk_full, when nothing that may go makes room enough */
  async #refuseFullDisk(manifest: BuildManifest): Promise<void> {
    const wanted = bytesNeeded(manifest) + this.#options.freeBytesMin;
    await this.collectGarbage(wanted);
    const free = await this.#free();
    if (free >= wanted) return;
    const [have, need] = [free, wanted].map((bytes) => `${(bytes / GIB).toFixed(1)} GiB`);
    throw new BuildFailed("disk_full", `Free disk space is ${have}, below the ${need} that the build may need.`);
  }

  async #hold(digest: string): Promise<HeldBuild> {
    const marker = await this.#whole(digest);
    if (marker === null) throw new Error(`the build ${digest} is not whole`);
    const folder = join(this.#folder, digest);
    const now = new Date(this.#now());
    await utimes(join(folder, "build.json"), now, now);
    await mkdir(this.#users, { recursive: true, mode: 0o700 });
    const user = join(this.#users, `${digest}.${randomUUID()}`);
    writeFileSync(user, JSON.stringify(processIdentity(process.pid)), { mode: 0o600 });
    return {
      digest,
      marker,
      comfyui: join(folder, "comfyui"),
      python: join(folder, "venv", "bin", "python"),
      release: () => rmSync(user, { force: true }),
    };
  }

  async #whole(digest: string): Promise<BuildMarker | null> {
    const marker = await readMarker(join(this.#folder, digest));
    return marker?.digest === digest ? marker : null;
  }

  /** Builds and half-made builds that nobody has used for a while, the oldest first. */
  async #idle(): Promise<{ digest: string; folder: string }[]> {
    const found: { digest: string; folder: string; usedAt: number }[] = [];
    for (const name of await readdir(this.#folder)) {
      const digest = name.replace(/^\.making-/, "");
      if (!isDigest(digest)) continue;
      const folder = join(this.#folder, name);
      const file = name === digest ? "build.json" : "journal.json";
      const usedAt = (await stat(join(folder, file)).catch(() => stat(folder).catch(() => null)))?.mtimeMs;
      if (usedAt !== undefined && this.#now() - usedAt >= IDLE_MS_MIN) found.push({ digest, folder, usedAt });
    }
    return found.toSorted((one, other) => one.usedAt - other.usedAt);
  }

  /** Takes a build out of sight, if nobody uses it. @returns where it is now */
  async #setAside(digest: string, folder: string, held: HeldLock): Promise<string | null> {
    try {
      if (await this.#isUsed(digest)) return null;
      const trash = join(this.#folder, `.removing-${randomUUID()}`);
      await rename(folder, trash);
      return trash;
    } finally {
      await held.release();
    }
  }

  async #isUsed(digest: string): Promise<boolean> {
    for (const name of await readdir(this.#users).catch(() => [])) {
      if (!name.startsWith(`${digest}.`)) continue;
      const path = join(this.#users, name);
      const identity = readIdentity(path);
      if (identity !== null && isSameProcess(identity)) return true;
      rmSync(path, { force: true });
    }
    return false;
  }

  #making(digest: string): string {
    return join(this.#folder, `.making-${digest}`);
  }

  #free(): Promise<number> {
    return (this.#options.freeBytes ?? freeBytes)(this.#folder);
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }
}

function isDigest(name: string): boolean {
  return /^[0-9a-f]{64}$/.test(name);
}

function asStep(text: string): BuildStep | null {
  return text === "comfyui" || text === "nodes" || text === "python" || text === "models" ? text : null;
}
