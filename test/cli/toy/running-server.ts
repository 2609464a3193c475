import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface ToyServer {
  readonly process: ChildProcess;
  readonly url: string;
  readonly key: string;
  readonly isFirstStart: boolean;
  /** Lines for people, so far. */
  readonly reports: readonly string[];
  /** What it and workerd wrote to standard error, so far. */
  readonly log: readonly string[];
  kill(signal: NodeJS.Signals): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL("./serve.ts", import.meta.url));

/**
 * Starts the toy server in a process of its own and waits until it is ready.
 * @param killed kills it at once, ready or not
 * @throws Error with the reason it gives when it does not start
 */
export async function runToyServer(
  projectRoot: string,
  stateRoot: string,
  port = 0,
  killed?: AbortSignal,
  loopback: "allowed" | "refused" = "refused",
): Promise<ToyServer> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", PROGRAM, projectRoot, stateRoot, String(port), loopback],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  killed?.addEventListener("abort", () => child.kill("SIGKILL"), { once: true });
  const reports: string[] = [];
  const log: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const lines = createInterface({ input: child.stdout });
  const ready = await new Promise<{ ready: string; key: string; isFirstStart: boolean }>((resolve, reject) => {
    lines.on("line", (line) => {
      const message = JSON.parse(line) as Record<string, unknown>;
      if (typeof message.report === "string") reports.push(message.report);
      if (typeof message.failed === "string") reject(new Error(message.failed));
      if (typeof message.ready === "string") {
        resolve({ ready: message.ready, key: String(message.key), isFirstStart: message.isFirstStart === true });
      }
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code}\n${log.join("\n")}`)));
  });
  return {
    process: child,
    url: ready.ready,
    key: ready.key,
    isFirstStart: ready.isFirstStart,
    reports,
    log,
    kill: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill(signal);
      await ended;
    },
  };
}
