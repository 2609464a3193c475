import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** So many ports above the wanted one are tried. */
const PORTS_TRIED = 50;
/** A program that was killed a moment ago may still hold the wanted port, and its successor is to have the same address. */
const PATIENCE_MS = 1_000;
const LOOK_AGAIN_MS = 20;

/**
 * The first free TCP port from `wanted` on; 0 asks the system for any.
 * @throws Error when there is none among the next 50
 */
export async function freePort(host: string, wanted: number): Promise<number> {
  for (const until = Date.now() + PATIENCE_MS; wanted !== 0 && Date.now() < until; await sleep(LOOK_AGAIN_MS)) {
    if ((await listenOnce(host, wanted)) !== null) return wanted;
  }
  for (let port = wanted; port < wanted + PORTS_TRIED && port <= 65_535; port += 1) {
    const got = await listenOnce(host, port);
    if (got !== null) return got;
    if (wanted === 0) break;
  }
  throw new Error(`No free port from ${wanted} on ${host}`);
}

/** Listens for a moment; null when somebody else does. */
function listenOnce(host: string, port: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(null);
      else reject(error);
    });
    probe.listen({ host, port, exclusive: true }, () => {
      const address = probe.address();
      const got = typeof address === "object" && address !== null ? address.port : port;
      probe.close(() => resolve(got));
    });
  });
}
