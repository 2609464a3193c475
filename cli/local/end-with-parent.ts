/** Loaded before a program of the local stack: asks it to end when the process that started it is gone. */
if (process.channel !== undefined) {
  process.on("disconnect", () => process.kill(process.pid, "SIGTERM"));
  // The channel alone must not keep a finished program alive.
  process.channel.unref();
}

export {};
