/** What a webhook message says. Bodies stay below WEBHOOK_BODY_BYTES_MAX: they link to outputs and never hold them. */
import type { EndpointId, JobId, WorkspaceId } from "#contract/ids";
import type { JobError, JobEventType, JobProgress, JobState, Lane } from "#contract/job";
import { WEBHOOK_BODY_BYTES_MAX } from "#contract/limits";
import type { WebhookEvent } from "#contract/webhook";

/** Type, time, workspace and the braces around the data. */
const ENVELOPE_BYTES_MAX = 256;
export const DATA_BYTES_MAX = WEBHOOK_BODY_BYTES_MAX - ENVELOPE_BYTES_MAX;
/** Of an error's message; the whole of it is in the job. */
const ERROR_LENGTH_MAX = 2_000;
/** Of one text, and of all tags, as JSON: a control character is one character and six bytes. */
const TEXT_BYTES_MAX = 6_144;
/** Of the other texts that a node reports, such as the class of a node. */
const NAME_LENGTH_MAX = 200;

/** What a message tells of a job: everything public but its inputs. */
export interface JobFacts {
  readonly id: JobId;
  readonly endpoint: string;
  readonly endpointId: EndpointId;
  readonly release: number;
  readonly state: JobState;
  readonly lane: Lane;
  readonly tags: readonly string[];
  readonly attempt: number;
  readonly error: JobError | null;
  readonly createdAt: number;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  readonly outputs: readonly {
    readonly name: string;
    readonly kind: string;
    readonly content_type: string;
    readonly size: number;
    readonly sha256: string;
  }[];
  /** In `job.progress` alone. */
  readonly progress?: JobProgress;
}

interface MessageOutput {
  readonly name: string;
  readonly kind: string;
  readonly content_type: string;
  readonly size: number;
  readonly sha256: string;
  readonly url: string;
}

/** A message's `data`; only what tells of a job has outputs. */
export interface MessageData extends Readonly<Record<string, unknown>> {
  readonly outputs?: readonly MessageOutput[];
  readonly outputs_truncated?: boolean;
}

/** A job's facts as a message's `data`, at most DATA_BYTES_MAX long. Links are paths below the API's address. */
export function jobData(facts: JobFacts): MessageData {
  const { error, progress } = facts;
  return fitted(
    {
      id: facts.id,
      endpoint: facts.endpoint,
      endpoint_id: facts.endpointId,
      release: facts.release,
      state: facts.state,
      lane: facts.lane,
      tags: firstTags(facts.tags),
      attempt: facts.attempt,
      error: error === null ? null : shortened(error),
      created_at: iso(facts.createdAt),
      started_at: facts.startedAt === null ? null : iso(facts.startedAt),
      finished_at: facts.finishedAt === null ? null : iso(facts.finishedAt),
      ...(progress === undefined ? {} : { progress: shortened(progress) }),
      outputs: facts.outputs.map(({ name, kind, content_type, size, sha256 }) => ({
        name,
        kind,
        content_type,
        size,
        sha256,
        url: `/v1/jobs/${facts.id}/outputs/${name}`,
      })),
      outputs_truncated: false,
    },
    DATA_BYTES_MAX,
  );
}

/** What came of trying a release. */
export interface ReleaseFacts {
  readonly endpoint: string;
  readonly endpointId: EndpointId;
  readonly release: number;
  readonly state: "ready" | "failed";
  /** The type of card on which it failed. */
  readonly card: string | null;
  readonly error: string | null;
  readonly at: number;
}

/** As a message's `data`. */
export function releaseData({ error, card, ...facts }: ReleaseFacts): MessageData {
  return {
    endpoint: facts.endpoint,
    endpoint_id: facts.endpointId,
    release: facts.release,
    state: facts.state,
    gpu_type: card === null ? null : cut(card, NAME_LENGTH_MAX),
    error: error === null ? null : cut(error, ERROR_LENGTH_MAX),
    at: iso(facts.at),
  };
}

/** The data with as many of its outputs as fit. @param bytesMax of its JSON text in UTF-8 */
export function fitted(data: MessageData, bytesMax: number): MessageData {
  const { outputs } = data;
  if (outputs === undefined || byteLength(JSON.stringify(data)) <= bytesMax) return data;
  let room = bytesMax - byteLength(JSON.stringify({ ...data, outputs: [], outputs_truncated: true }));
  const kept: MessageOutput[] = [];
  for (const output of outputs) {
    room -= byteLength(JSON.stringify(output)) + 1;
    if (room < 0) break;
    kept.push(output);
  }
  return { ...data, outputs: kept, outputs_truncated: true };
}

/**
 * The text that is signed and sent.
 * @param at Unix ms, when the event happened
 * @param publicUrl the API's address, which goes before the outputs' paths; "" when nobody has told us
 */
export function messageBody(
  type: WebhookEvent,
  at: number,
  workspaceId: WorkspaceId,
  data: MessageData,
  publicUrl: string,
): string {
  const { outputs } = data;
  const linked =
    outputs === undefined || publicUrl === ""
      ? data
      : { ...data, outputs: outputs.map((output) => ({ ...output, url: `${publicUrl}${output.url}` })) };
  return JSON.stringify({
    type,
    timestamp: iso(at),
    workspace_id: workspaceId,
    data: fitted(linked, DATA_BYTES_MAX),
  });
}

/** What a test message tells: the form of the real thing, and that it is none. */
export function exampleData(type: WebhookEvent, at: number, workspaceId: WorkspaceId): MessageData {
  const chars = workspaceId.slice(3);
  if (type === "webhook.test") return { test: true, message: "The webhook works when you can read this." };
  if (type === "webhook.disabled") {
    const since = iso(at - 5 * 86_400_000);
    const reason = "It has failed for 5 days without one success.";
    return { test: true, id: `wh_${chars}`, url: null, reason, failing_since: since, disabled_at: iso(at) };
  }
  const endpointId = `ep_${chars}` as EndpointId;
  if (type === "release.ready" || type === "release.failed") {
    const state = type === "release.ready" ? "ready" : "failed";
    const failure =
      state === "ready"
        ? { card: null, error: null }
        : { card: "rtx-4090", error: "This ComfyUI has no node class Sharpen." };
    return { test: true, ...releaseData({ endpoint: "text-to-image", endpointId, release: 2, state, ...failure, at }) };
  }
  const state = EXAMPLE_STATES[type];
  const isEnded = state !== "queued" && state !== "running";
  const data = jobData({
    id: `job_${chars}` as JobId,
    endpoint: "text-to-image",
    endpointId,
    release: 1,
    state,
    lane: "interactive",
    tags: ["test"],
    attempt: state === "queued" ? 0 : 1,
    error: state === "failed" ? { code: "out_of_memory", message: "This is an example of an error." } : null,
    createdAt: at - 10_000,
    startedAt: state === "queued" || state === "expired" ? null : at - 8_000,
    finishedAt: isEnded ? at : null,
    outputs:
      state === "succeeded"
        ? [{ name: "images_0.png", kind: "image", content_type: "image/png", size: 1_024, sha256: "0".repeat(64) }]
        : [],
    ...(type === "job.progress" ? { progress: { fraction: 0.5, nodes_done: 3, nodes_total: 7 } } : {}),
  });
  return { test: true, ...data };
}

const EXAMPLE_STATES = {
  "job.queued": "queued",
  "job.started": "running",
  "job.progress": "running",
  "job.succeeded": "succeeded",
  "job.failed": "failed",
  "job.canceled": "canceled",
  "job.expired": "expired",
} as const satisfies Record<JobEventType, JobState>;

/** Texts come from machines and workflows and may be of any length. */
function shortened<T extends object>(value: T): T {
  const entries = Object.entries(value).map(([name, field]) => [
    name,
    typeof field === "string" ? cut(field, name === "message" ? ERROR_LENGTH_MAX : NAME_LENGTH_MAX) : field,
  ]);
  return Object.fromEntries(entries) as T;
}

/** At most so many characters, never half of one, and at most TEXT_BYTES_MAX as JSON. */
function cut(text: string, length: number): string {
  const kept = text.length <= length ? text : `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
  return byteLength(JSON.stringify(kept)) <= TEXT_BYTES_MAX ? kept : cut(kept, Math.floor(kept.length / 2));
}

/** As many as take TEXT_BYTES_MAX, which is all unless they are full of what JSON must escape; the job has the rest. */
function firstTags(tags: readonly string[]): string[] {
  let room = TEXT_BYTES_MAX;
  const firstLeftOut = tags.findIndex((tag) => {
    room -= byteLength(JSON.stringify(tag)) + 1;
    return room < 0;
  });
  return tags.slice(0, firstLeftOut === -1 ? undefined : firstLeftOut);
}

const encoder = new TextEncoder();
const byteLength = (text: string): number => encoder.encode(text).byteLength;
const iso = (ms: number): string => new Date(ms).toISOString();
