/** A ComfyUI that is ready for prompts: its server, its HTTP API, its one socket, and what it can do. */
import { type Log, messageOf } from "../log.ts";
import type { Timings } from "../settings.ts";
import { ComfyHttp } from "./comfy-http.ts";
import type { ComfyServer } from "./comfy-server.ts";
import { ComfySocket } from "./comfy-socket.ts";
import { NodeClasses } from "./node-classes.ts";

export interface ComfySession {
  readonly server: ComfyServer;
  readonly http: ComfyHttp;
  readonly socket: ComfySocket;
  readonly classes: NodeClasses;
  readonly version: string | null;
  /** GET /api/jobs and an atomic cancel: the newer generation of the protocol. */
  readonly jobsApi: boolean;
}

/** @throws when ComfyUI does not answer; a socket that does not open is only logged, since the history is the truth */
export async function openSession(
  server: ComfyServer,
  timings: Timings,
  log: Log,
  signal: AbortSignal,
): Promise<ComfySession> {
  const http = new ComfyHttp(server.url, timings.comfyCallMs);
  const { version } = await http.systemStats(signal);
  const jobsApi = await http.hasJobsApi(signal);
  const socket = new ComfySocket(http, timings, log);
  try {
    await socket.ready(signal);
  } catch (error) {
    if (signal.aborted) {
      await socket.close();
      throw error;
    }
    log("comfy_socket_late", { error: messageOf(error) });
  }
  return { server, http, socket, classes: new NodeClasses(http), version, jobsApi };
}

/** Closes the socket and ends the process, if it is the agent's own. */
export async function closeSession(session: ComfySession): Promise<void> {
  await session.socket.close();
  await session.server.stop();
}
