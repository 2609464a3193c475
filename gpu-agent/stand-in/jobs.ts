/** The jobs API of newer servers: the queue and the history as one list of jobs. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { History, HistoryEntry } from "./history.ts";
import { type PromptQueue, type QueuedPrompt, queueTuple } from "./prompt-queue.ts";

const STATUSES = ["pending", "in_progress", "completed", "failed", "cancelled"];
const PREVIEWABLE = ["images", "video", "audio", "3d", "text"];
const MODEL_ENDINGS = /\.(obj|fbx|gltf|glb|usdz)$/i;
const TEXT_ENDINGS = /\.(txt|md|json)$/i;
const TEXT_PREVIEW_LENGTH_MAX = 1024;

/** A query parameter this list cannot serve; the text is the `error` of a 400. */
export class JobQueryError extends Error {}

export class Jobs {
  readonly #queue: PromptQueue;
  readonly #history: History;

  constructor(queue: PromptQueue, history: History) {
    this.#queue = queue;
    this.#history = history;
  }

  /**
   * One page of jobs, newest first unless asked otherwise.
   * @throws JobQueryError
   */
  list(query: URLSearchParams): Json {
    const wanted = statusFilter(query.get("status"));
    const sortBy = (query.get("sort_by") ?? "created_at").toLowerCase();
    const sortOrder = (query.get("sort_order") ?? "desc").toLowerCase();
    if (!["created_at", "execution_duration"].includes(sortBy)) {
      throw new JobQueryError("sort_by must be 'created_at' or 'execution_duration'");
    }
    if (!["asc", "desc"].includes(sortOrder)) throw new JobQueryError("sort_order must be 'asc' or 'desc'");
    const limit = query.has("limit") ? whole("limit", query.get("limit")) : null;
    if (limit !== null && limit <= 0) throw new JobQueryError("limit must be a positive integer");
    const offset = query.has("offset") ? Math.max(0, whole("offset", query.get("offset"))) : 0;

    const { running, pending } = this.#queue;
    const workflowId = query.get("workflow_id");
    const jobs = [
      ...(running === undefined ? [] : [waitingJob(running, "in_progress")]),
      ...pending.map((item) => waitingJob(item, "pending")),
      ...[...this.#history.all()].map(([id, entry]) => finishedJob(id, entry)),
    ].filter(
      (job) =>
        wanted.includes(String(job.status)) &&
        (workflowId === null || workflowId === "" || job.workflow_id === workflowId),
    );
    const key = sortBy === "created_at" ? createdAt : duration;
    const direction = sortOrder === "desc" ? -1 : 1;
    jobs.sort((a, b) => direction * (key(a) - key(b)));
    const page = jobs.slice(offset, limit === null ? undefined : offset + limit);
    return {
      jobs: page,
      pagination: { offset, limit, total: jobs.length, has_more: offset + page.length < jobs.length },
    };
  }

  /** One job with its outputs, or undefined when nobody knows it. */
  get(id: string): JsonObject | undefined {
    const entry = this.#history.get(id);
    if (entry !== undefined) {
      const [, , prompt = null, extraData = null] = entry.prompt;
      return {
        ...finishedJob(id, entry),
        outputs: Object.fromEntries(entry.outputs),
        execution_status: { ...entry.status, messages: entry.status.messages.map(([event, data]) => [event, data]) },
        workflow: { prompt, extra_data: extraData },
      };
    }
    const { running, pending } = this.#queue;
    if (running?.promptId === id) return waitingJob(running, "in_progress");
    const waiting = pending.find((item) => item.promptId === id);
    return waiting === undefined ? undefined : waitingJob(waiting, "pending");
  }

  /** Interrupts the job when it runs, takes it out when it waits. False when there was nothing left to cancel. */
  cancel(id: string, interrupt: () => void): boolean {
    if (this.#queue.running?.promptId === id) {
      interrupt();
      return true;
    }
    return this.#queue.delete(id);
  }
}

function statusFilter(given: string | null): readonly string[] {
  if (given === null || given === "") return STATUSES;
  const wanted = given
    .split(",")
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part !== "");
  const unknown = wanted.filter((part) => !STATUSES.includes(part));
  if (unknown.length > 0) {
    throw new JobQueryError(`Invalid status value(s): ${unknown.join(", ")}. Valid values: ${STATUSES.join(", ")}`);
  }
  return wanted;
}

function whole(name: string, given: string | null): number {
  if (given === null || !/^\s*[+-]?\d+\s*$/.test(given)) throw new JobQueryError(`${name} must be an integer`);
  return Number(given);
}

function createdAt(job: JsonObject): number {
  return Number(job.create_time ?? 0);
}

function duration(job: JsonObject): number {
  const start = Number(job.execution_start_time ?? 0);
  const end = Number(job.execution_end_time ?? 0);
  return start > 0 && end > 0 ? end - start : 0;
}

function waitingJob(item: QueuedPrompt, status: string): JsonObject {
  const [priority = null, id = null, , extraData = null] = queueTuple(item);
  return pruned({ id, status, priority, ...origin(extraData), outputs_count: 0, previewable_outputs_count: 0 });
}

function finishedJob(id: string, entry: HistoryEntry): JsonObject {
  const [priority = null, , , extraData = null] = entry.prompt;
  const message = (event: string): JsonObject | undefined =>
    entry.status.messages.find(([name]) => name === event)?.[1];
  const end = message("execution_success") ?? message("execution_error") ?? message("execution_interrupted");
  const failure = message("execution_interrupted") === undefined ? "failed" : "cancelled";
  const { count, previewable, preview } = summary(entry.outputs);
  return pruned({
    id,
    status: entry.status.status_str === "success" ? "completed" : failure,
    priority,
    ...origin(extraData),
    execution_start_time: message("execution_start")?.timestamp ?? null,
    execution_end_time: end?.timestamp ?? null,
    execution_error: message("execution_error") ?? null,
    outputs_count: count,
    previewable_outputs_count: previewable,
    preview_output: preview,
  });
}

function origin(extraData: Json): { create_time: Json; workflow_id: Json } {
  const data = isJsonObject(extraData) ? extraData : {};
  const info = isJsonObject(data.extra_pnginfo) ? data.extra_pnginfo : {};
  const workflow = isJsonObject(info.workflow) ? info.workflow : {};
  return { create_time: data.create_time ?? null, workflow_id: workflow.id ?? null };
}

function pruned(job: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(job).filter(([, value]) => value !== null));
}

/** How many files a job made, and the one to show: saved pictures first, then previews, then text. */
function summary(outputs: ReadonlyMap<string, JsonObject>): { count: number; previewable: number; preview: Json } {
  let count = 0;
  let previewable = 0;
  const choices: (JsonObject | undefined)[] = [undefined, undefined, undefined, undefined];
  for (const [nodeId, shown] of outputs) {
    for (const [mediaType, items] of Object.entries(shown)) {
      if (mediaType === "animated" || !Array.isArray(items)) continue;
      for (const item of items) {
        const file = asFile(item);
        if (file === undefined) {
          if (mediaType === "text" && item !== null) choices[3] ??= { ...textPreview(String(item)), nodeId, mediaType };
          continue;
        }
        count += 1;
        if (!isPreviewable(mediaType, file)) continue;
        previewable += 1;
        const isText = mediaType === "text" || TEXT_ENDINGS.test(String(file.filename ?? ""));
        const rank = isText ? 2 : file.type === "output" ? 0 : 1;
        choices[rank] ??= { ...file, nodeId, ...("mediaType" in file ? {} : { mediaType }) };
      }
    }
  }
  return { count, previewable, preview: choices.find((choice) => choice !== undefined) ?? null };
}

function asFile(item: Json): JsonObject | undefined {
  if (isJsonObject(item)) return item;
  if (typeof item !== "string" || !MODEL_ENDINGS.test(item)) return undefined;
  return { filename: item, type: "output", subfolder: "", mediaType: "3d" };
}

function textPreview(text: string): JsonObject {
  if (text.length <= TEXT_PREVIEW_LENGTH_MAX) return { content: text };
  return { content: text.slice(0, TEXT_PREVIEW_LENGTH_MAX), truncated: true };
}

function isPreviewable(mediaType: string, file: JsonObject): boolean {
  const name = String(file.filename ?? "");
  const format = String(file.format ?? "");
  return (
    PREVIEWABLE.includes(mediaType) ||
    /^(video|audio)\//.test(format) ||
    MODEL_ENDINGS.test(name) ||
    TEXT_ENDINGS.test(name)
  );
}
