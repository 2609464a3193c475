#!/usr/bin/env node
/** The command line's entry: streams, signals and the exit code. */
import { enableCompileCache } from "node:module";
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";

// Half of a start is spent stripping types. Node keeps the results for the next start, of the programs that this one starts
// as well, when it is asked before the first module is loaded. In our own folder: what others can write, they could run.
process.env.NODE_COMPILE_CACHE ||= fileURLToPath(new URL("../dist/compile-cache", import.meta.url));
enableCompileCache(process.env.NODE_COMPILE_CACHE);

const first = new AbortController();
const second = new AbortController();
/** One press or one `kill` may arrive twice: from the terminal or service manager, and passed on by npm. */
const SAME_INTERRUPT_MS = 100;
const PARENT_LOOK_MS = 500;
let interrupted = 0;
let lastSignalAt = Number.NEGATIVE_INFINITY;
const onSignal = (): void => {
  const now = performance.now();
  const isSame = now - lastSignalAt < SAME_INTERRUPT_MS;
  lastSignalAt = now;
  if (isSame) return;
  interrupted += 1;
  if (interrupted === 1) first.abort(new Error("Interrupted"));
  else if (interrupted === 2) second.abort(new Error("Interrupted"));
  else process.exit(130);
};
process.on("SIGINT", onSignal);
process.on("SIGTERM", onSignal);
process.on("SIGHUP", onSignal);
// A reader that has seen enough (`| head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

// Paths are meant relative to where the person stands, which npm hides behind INIT_CWD.
const byNpm = ["pilotlight", "start", "demo"].includes(process.env.npm_lifecycle_event ?? "");

// A `kill` of npm ends npm and its shell, which do not pass the signal on: without this look everything would run on.
if (byNpm) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    onSignal();
  }, PARENT_LOOK_MS);
  watch.unref();
}

const { runCommandLine } = await import("#cli/run-command");
process.exitCode = await runCommandLine({
  argv: process.argv.slice(2),
  env: process.env,
  workingDirectory: (byNpm ? process.env.INIT_CWD : undefined) ?? process.cwd(),
  stdout: process.stdout,
  stderr: process.stderr,
  interrupts: { signal: first.signal, force: second.signal },
  readStdin: async () => {
    const pieces: Buffer[] = [];
    for await (const piece of process.stdin) pieces.push(piece as Buffer);
    return new Uint8Array(Buffer.concat(pieces));
  },
  ask: async (question) => {
    if (!process.stdin.isTTY || !process.stderr.isTTY) return null;
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    // The terminal's Ctrl-C comes to whoever reads it.
    terminal.on("SIGINT", onSignal);
    try {
      return await terminal.question(question, { signal: first.signal });
    } finally {
      terminal.close();
    }
  },
});

// Whatever still holds the process after its work is done (a pooled connection) does not hold it for long.
setTimeout(() => process.exit(), 2_000).unref();
