/** Loaded before a program of the local stack: ends it when the process that started it is gone. */

/** A program that cannot reach anybody any more may try for long to say goodbye. */
const GRACE_MS = 10_000;

if (process.channel !== undefined) {
  process.on("disconnect", () => {
    process.kill(process.pid, "SIGTERM");
    // It leads a process group of its own; what it started ends with it.
    setTimeout(() => process.kill(-process.pid, "SIGKILL"), GRACE_MS).unref();
  });
  // The channel alone must not keep a finished program alive.
  process.channel.unref();
}

export {};
