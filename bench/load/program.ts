/** Programs under test run in processes of their own, so that the load does not share their event loop. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export interface Program {
  readonly process: ChildProcess;
  /** Its first line of output: what it says when it is ready. */
  readonly ready: string;
  /** Ends it by ending its standard input, or by a kill. */
  stop(): Promise<void>;
}

/**
 * Starts a TypeScript program that prints one line when it is ready.
 * @throws Error when it ends before
 */
export async function startProgram(
  path: string,
  args: readonly string[],
  { stopBy, errors = "inherit" }: { readonly stopBy: "end of input" | "kill"; readonly errors?: "inherit" | "ignore" },
): Promise<Program> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", path, ...args], {
    stdio: ["pipe", "pipe", errors],
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const early = ended.then((code) =>
    Promise.reject(new Error(`${path} ended with ${String(code)} before it was ready`)),
  );
  early.catch(() => undefined);
  const [ready] = (await Promise.race([once(createInterface({ input: child.stdout }), "line"), early])) as [string];
  return {
    process: child,
    ready,
    stop: async () => {
      if (stopBy === "kill") child.kill("SIGKILL");
      else child.stdin.end();
      await ended;
    },
  };
}
