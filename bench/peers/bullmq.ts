/** BullMQ on a Redis that writes every command to disk before it answers. Measured where both are installed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "#cli/local/free-port";

export type Bullmq =
  | { readonly type: "absent"; readonly reason: string }
  | {
      readonly type: "running";
      /** Jobs a second, from the first submit to the last completed job. */
      rate(jobs: number, submitters: number): Promise<number>;
      stop(): Promise<void>;
    };

/** As much of the package as is used here; it is no dependency, so its own types may not be there. */
interface BullmqModule {
  readonly Queue: new (
    name: string,
    options: object,
  ) => { add(name: string, data: object, options: object): Promise<unknown>; close(): Promise<void> };
  readonly Worker: new (
    name: string,
    processor: () => Promise<void>,
    options: object,
  ) => {
    on(event: "completed", listener: () => void): void;
    waitUntilReady(): Promise<unknown>;
    close(force: boolean): Promise<void>;
  };
}

const QUEUE = "bench";
const START_TRIES = 200;

/** Starts Redis and so many workers. @param folder gets Redis's files */
export async function startBullmq(folder: string, workers: number): Promise<Bullmq> {
  const bullmq = await importBullmq();
  if (bullmq === null) return { type: "absent", reason: "the package bullmq is not installed" };
  const port = await freePort("127.0.0.1", 0);
  await mkdir(folder, { recursive: true });
  const redis = spawn(
    "redis-server",
    ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--appendfsync", "always"],
    { stdio: "ignore" },
  );
  const started = await Promise.race([once(redis, "spawn").then(() => true), once(redis, "error").then(() => false)]);
  if (!started) return { type: "absent", reason: "redis-server is not installed" };

  const options = { connection: { host: "127.0.0.1", port, maxRetriesPerRequest: null } };
  const queue = new bullmq.Queue(QUEUE, options);
  let done = 0;
  let hear: () => void = () => undefined;
  const crew = Array.from({ length: workers }, () => new bullmq.Worker(QUEUE, async () => undefined, options));
  for (const worker of crew) {
    worker.on("completed", () => {
      done += 1;
      hear();
    });
  }
  await Promise.race([
    Promise.all(crew.map((worker) => worker.waitUntilReady())),
    pause(START_TRIES * 50, null, { ref: false }),
  ]);
  return {
    type: "running",
    rate: async (jobs, submitters) => {
      const goal = done + jobs;
      const startedAt = performance.now();
      const all = new Promise<void>((resolve) => {
        hear = () => {
          if (done >= goal) resolve();
        };
      });
      let left = jobs;
      await Promise.all(
        Array.from({ length: submitters }, async () => {
          while (left > 0) {
            left -= 1;
            await queue.add("job", { color: left }, { removeOnComplete: true });
          }
        }),
      );
      await all;
      return (jobs * 1_000) / (performance.now() - startedAt);
    },
    stop: async () => {
      await Promise.all(crew.map((worker) => worker.close(true)));
      await queue.close();
      redis.kill("SIGKILL");
    },
  };
}

async function importBullmq(): Promise<BullmqModule | null> {
  // A name the compiler does not look up.
  const name: string = "bullmq";
  try {
    return (await import(name)) as BullmqModule;
  } catch {
    return null;
  }
}
