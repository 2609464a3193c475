/** Ends exactly one prompt, wherever in ComfyUI's queue it is, and makes sure of it. */
import { pause } from "../control/backoff.ts";
import { type Log, messageOf } from "../log.ts";
import { ComfyRefused, type QueuePlace } from "./comfy-http.ts";
import type { ComfySession } from "./comfy-session.ts";

const CHECK_MS = 250;

/**
 * Asks until the prompt has left the queue.
 * @param graceMs how long a running node may take to notice; one long call into CUDA cannot be interrupted
 * @returns false when it still runs after that, so that only ending the process would help
 */
export async function stopPrompt(session: ComfySession, promptId: string, graceMs: number, log: Log): Promise<boolean> {
  const deadline = performance.now() + graceMs;
  const left = () => AbortSignal.timeout(Math.max(1, Math.ceil(deadline - performance.now())));
  for (let tries = 0; performance.now() < deadline && !session.server.died.aborted; tries += 1) {
    try {
      const place = await session.http.queuePlace(promptId, left());
      if (place === "absent") return true;
      // Once may be lost between two nodes, and each one costs little.
      if (tries % 4 === 0) await askToStop(session, promptId, place);
    } catch (error) {
      log("comfy_interrupt_failed", { promptId, error: messageOf(error) });
    }
    await pause(Math.min(CHECK_MS, Math.max(0, deadline - performance.now())));
  }
  return session.server.died.aborted;
}

async function askToStop(session: ComfySession, promptId: string, place: QueuePlace): Promise<void> {
  if (session.jobsApi) {
    try {
      await session.http.cancelJob(promptId);
      return;
    } catch (error) {
      // Servers between the two generations list jobs but cannot cancel them.
      if (!(error instanceof ComfyRefused)) throw error;
    }
  }
  if (place === "pending") await session.http.deletePending(promptId);
  else await session.http.interrupt(promptId);
}
