/**
 * A store in a process of its own, to be killed. Reads one JSON value from its arguments, does it, and writes lines:
 * `ready` when it is about to be killed at the point that was asked for, `done` when it came to its end.
 */
import { open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { BuildModel } from "#contract/build";
import { pause } from "#gpu-agent/control/backoff";
import { DOWNLOAD_LIMITS } from "#gpu-agent/models/download";
import { FileLocks } from "#gpu-agent/models/file-lock";
import { ModelFailure } from "#gpu-agent/models/model-failure";
import { ModelStore } from "#gpu-agent/models/model-store";
import type { Reach } from "#gpu-agent/models/public-address";
import { sha256OfFile } from "#gpu-agent/models/sha256-of-file";

export type ChildTask =
  | {
      readonly do: "ensure";
      readonly folder: string;
      readonly models: readonly BuildModel[];
      readonly pieceBytes: number;
      readonly reach?: Reach;
    }
  /** Makes room for a model and stops for ever once so many others have gone. */
  | {
      readonly do: "evict";
      readonly folder: string;
      readonly model: BuildModel;
      readonly capacity: number;
      readonly stopAfter: number;
    }
  | { readonly do: "link"; readonly folder: string; readonly model: BuildModel; readonly build: string }
  /** Fetches into a disk that is too small but says that it is not, tells the error, makes room, and goes on. */
  | { readonly do: "fill"; readonly folder: string; readonly model: BuildModel; readonly ballast: string }
  /** Fetches a model, fills the disk to its last byte, and fetches another in the first one's place. */
  | {
      readonly do: "crowd";
      readonly folder: string;
      readonly models: readonly [first: BuildModel, second: BuildModel];
      readonly ballast: string;
    }
  /** Takes a lock and keeps it. */
  | { readonly do: "lock"; readonly folder: string; readonly name: string }
  /** Adds one to a number in a file under a lock, so many times. */
  | {
      readonly do: "count";
      readonly folder: string;
      readonly name: string;
      readonly file: string;
      readonly times: number;
    };

const task = JSON.parse(process.argv[2] ?? "null") as ChildTask;
const say = (line: string) => new Promise<void>((resolve) => process.stdout.write(`${line}\n`, () => resolve()));
const forever = () => new Promise<never>(() => setInterval(() => undefined, 60_000));
const signal = new AbortController().signal;

switch (task.do) {
  case "ensure": {
    const store = await ModelStore.open({
      folder: task.folder,
      reach: task.reach ?? "loopback",
      reserveBytes: 0,
      limits: {
        pieceBytes: task.pieceBytes,
        connections: 4,
        triesMax: 3,
        progressBytes: 1,
        backoff: { retryBaseMs: 1, retryMaxMs: 1 },
      },
    });
    await say("ready");
    for (const model of task.models) await store.ensure(model, { signal });
    store.close();
    break;
  }
  case "evict": {
    let evicted = 0;
    const store = await ModelStore.open({
      folder: task.folder,
      reach: "loopback",
      reserveBytes: 0,
      onEvict: () => {
        evicted += 1;
      },
      freeBytes: async () => {
        if (evicted === task.stopAfter) {
          await say("ready");
          await forever();
        }
        return task.capacity + evicted * task.model.sizeBytes;
      },
    });
    await store.ensure(task.model, { signal });
    break;
  }
  case "link": {
    const store = await ModelStore.open({ folder: task.folder });
    await say("ready");
    await store.link(task.build, task.model);
    break;
  }
  case "fill": {
    await writeFile(task.ballast, Buffer.alloc(task.model.sizeBytes / 2));
    const store = await ModelStore.open({
      folder: task.folder,
      reach: "loopback",
      reserveBytes: 0,
      freeBytes: () => Promise.resolve(Number.POSITIVE_INFINITY),
      limits: { ...DOWNLOAD_LIMITS, pieceBytes: 32_768, connections: 2 },
    });
    const error: unknown = await store.ensure(task.model, { signal }).catch((reason: unknown) => reason);
    if (!(error instanceof ModelFailure)) throw error;
    await say(error.code);
    await rm(task.ballast);
    const { path } = await store.ensure(task.model, { signal });
    if ((await sha256OfFile(path)) !== task.model.sha256) throw new Error("its bytes are wrong");
    store.close();
    break;
  }
  case "crowd": {
    const store = await ModelStore.open({ folder: task.folder, reach: "loopback", reserveBytes: 0 });
    const [first, second] = task.models;
    await store.ensure(first, { signal });
    const ballast = await open(task.ballast, "w");
    const full = async () => {
      for (;;) await ballast.write(Buffer.alloc(4_096));
    };
    const error: unknown = await full().catch((reason: unknown) => reason);
    if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    await store.ensure(second, { signal });
    const left = (await store.list()).map(({ sha256 }) => sha256);
    if (left.length !== 1 || left[0] !== second.sha256) throw new Error(`the store has ${left.join(", ")}`);
    store.close();
    break;
  }
  case "lock": {
    await new FileLocks({ folder: task.folder, pause }).take(task.name);
    await say("ready");
    await forever();
    break;
  }
  case "count": {
    const locks = new FileLocks({ folder: task.folder, pause: () => new Promise((resolve) => setImmediate(resolve)) });
    for (let times = 0; times < task.times; times += 1) {
      const held = await locks.take(task.name);
      const before = Number(await readFile(task.file, "utf8"));
      // Others would come in here.
      await readdir(task.folder);
      await writeFile(task.file, String(before + 1));
      await held.release();
    }
    break;
  }
  default:
    throw new Error(`unknown task: ${JSON.stringify(task satisfies never)}`);
}
await say("done");
