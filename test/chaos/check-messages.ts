import * as z from "zod";
import { isTerminal } from "#contract/job";
import type { Violation } from "./check.ts";
import type { Destination, Evidence, ReceivedMessage } from "./evidence.ts";
import { signatureFault } from "./verify-signature.ts";

const Body = z.object({ type: z.string(), data: z.object({ id: z.string(), state: z.string() }).loose() });

/** Webhooks: each destination heard of each of its jobs' ends, always under one id, signed each time. */
export function checkMessages({ jobs, messages, destinations, publicKey }: Evidence): Violation[] {
  const found: Violation[] = [];
  const ended = new Map<string, { readonly index: number; readonly state: string }>();
  for (const { plan, record } of jobs) {
    if (record !== null && isTerminal(record.state)) ended.set(record.id, { index: plan.index, state: record.state });
  }
  /** The one id of each event, wherever it was sent. */
  const ids = new Map<string, string>();
  for (const destination of destinations) {
    const heard = new Map<string, boolean>();
    for (const message of messages.filter(({ path }) => path === destination.path)) {
      const fault = signatureFault(message, destination.secret, publicKey);
      if (fault !== null) found.push({ kind: "bad_signatures", detail: `${message.id} to ${message.path}: ${fault}` });
      const end = endOf(message);
      if (end === null) continue;
      const known = ids.get(end.event);
      if (known !== undefined && known !== message.id) {
        found.push({ kind: "webhook_ids", detail: `${end.event} came as ${known} and as ${message.id}` });
      }
      ids.set(end.event, message.id);
      const truth = ended.get(end.jobId);
      if (truth !== undefined && truth.state !== end.state) {
        found.push({
          kind: "stale_writes",
          detail: `${message.id} says ${end.state} of ${end.jobId}, which is ${truth.state}`,
        });
      }
      heard.set(end.jobId, (heard.get(end.jobId) ?? false) || (message.status ?? 500) < 300);
    }
    found.push(...missing(destination, ended, heard));
  }
  return found;
}

function missing(
  { path, jobs }: Destination,
  ended: ReadonlyMap<string, { readonly index: number; readonly state: string }>,
  heard: ReadonlyMap<string, boolean>,
): Violation[] {
  const found: Violation[] = [];
  for (const [id, { index, state }] of ended) {
    if (jobs !== null && !jobs.includes(index)) continue;
    const taken = heard.get(id);
    if (taken === true) continue;
    const what = taken === undefined ? "was never told" : "never got through with it";
    found.push({ kind: "webhooks_missing", detail: `${path} ${what}: ${id} ${state}` });
  }
  return found;
}

/** What a message says of a job's end; null for another kind of message. */
function endOf(message: ReceivedMessage): { event: string; jobId: string; state: string } | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(message.body);
  } catch {
    return null;
  }
  const body = Body.safeParse(parsed);
  if (!body.success) return null;
  const { type, data } = body.data;
  const state = /^job\.(succeeded|failed|canceled|expired)$/.exec(type)?.[1];
  return state === undefined ? null : { event: `${type} of ${data.id}`, jobId: data.id, state };
}
