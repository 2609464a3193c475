/**
 * The program that runs the local server. Its parent speaks to it over Node's IPC channel and reads one message, ready or
 * failed; its output is the server's log. It ends with its parent, however that ends.
 */

import { statfs } from "node:fs/promises";
import { readable } from "#cli/file-reason";
import { type LocalServer, ServerRunning, startLocalServer } from "#cli/local/server";
import type { ServerMessage } from "#cli/local/server-message";
import { PROJECT_ROOT, stateFolderAt, stateRootOf } from "#cli/local/state-folder";

const PORT = 8787;
const CHECK_EVERY_MS = 5_000;
const CHECK_ANSWER_MS = 10_000;
/** Miniflare restarts a dead workerd within a second; one that has not answered for so many checks is beyond that. */
const CHECKS_FAILED_MAX = 4;
const EXIT_UNHEALTHY = 75;
/** With less room than this, a failed start is blamed on it. */
const FULL_BELOW_BYTES = 1024 * 1024;

/** Settings of the deployment that the environment may hold: with which secrets models are imported, and from which mirrors. */
const HANDED_ON = ["HF_TOKEN", "CIVITAI_TOKEN", "HF_ENDPOINT", "CIVITAI_ENDPOINT"];

const say = (line: string): void => console.log(`${new Date().toISOString()} ${line}`);
const tell = (message: ServerMessage): void => void process.send?.(message);

// The log may lie on the disk that is full: what cannot be written is lost, and the server goes on.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
// On SIGTERM, Miniflare ends workerd and this process by itself.
process.on("uncaughtException", (error) => {
  say(`uncaught: ${error.stack ?? error.message}`);
  process.exit(EXIT_UNHEALTHY);
});
process.on("unhandledRejection", (reason) => {
  // Miniflare leaves promises of its own behind when workerd dies under them.
  say(`unhandled rejection: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`);
});

const state = stateFolderAt(stateRootOf(process.env));
try {
  const server = await startLocalServer({
    projectRoot: PROJECT_ROOT,
    state,
    port: wantedPort(process.env.PILOTLIGHT_PORT ?? ""),
    allowLoopbackUrls: process.env.ALLOW_LOOPBACK_URLS === "true",
    vars: handedOn(process.env),
    report: say,
  });
  say(`ready at ${server.url}`);
  tell({ type: "ready", url: server.url, isFirstStart: server.isFirstStart });
  watch(server);
} catch (error) {
  const shown = readable(error);
  const reason = shown instanceof Error ? shown.message : String(shown);
  const message = (await isFull(state.root)) ? `The disk of ${state.root} is full` : reason;
  say(`failed: ${error instanceof Error ? (error.stack ?? message) : message}`);
  if (error instanceof ServerRunning) tell({ type: "running", detail: message, url: error.running?.url ?? null });
  else tell({ type: "failed", detail: message });
  process.exitCode = 1;
  if (process.connected) process.disconnect();
}

/** A database says of a full disk only that it failed. */
async function isFull(folder: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder).catch(() => ({ bavail: 1, bsize: FULL_BELOW_BYTES }));
  return bavail * bsize < FULL_BELOW_BYTES;
}

function handedOn(env: NodeJS.ProcessEnv): Record<string, string> {
  const found = HANDED_ON.map((name) => [name, env[name] ?? ""] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== ""));
}

function wantedPort(text: string): number {
  if (text === "") return PORT;
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) > 65_535) throw new Error(`PILOTLIGHT_PORT is a port, not ${text}`);
  return Number(text);
}

/** Leaves when the server stops answering, so that the parent starts a fresh one. */
function watch(server: LocalServer): void {
  let failed = 0;
  const check = async (): Promise<void> => {
    try {
      const response = await fetch(`${server.url}/v1/health`, { signal: AbortSignal.timeout(CHECK_ANSWER_MS) });
      await response.body?.cancel();
      failed = 0;
    } catch {
      failed += 1;
      say(`health check failed (${failed} of ${CHECKS_FAILED_MAX})`);
    }
    if (failed >= CHECKS_FAILED_MAX) process.exit(EXIT_UNHEALTHY);
    setTimeout(check, CHECK_EVERY_MS);
  };
  setTimeout(check, CHECK_EVERY_MS);
}
