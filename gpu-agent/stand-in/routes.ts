/** Every route of the server, with what it does in a few lines; the bigger ones live in files of their own. */
import { readdirSync } from "node:fs";
import { open } from "node:fs/promises";
import { isJsonObject, type Json, parseExactJson } from "#contract/exact-json";
import { annotatedName, folderOf } from "./annotated-names.ts";
import type { Clients } from "./clients.ts";
import type { Executor } from "./executor.ts";
import type { Faults } from "./faults.ts";
import type { Generation } from "./generations.ts";
import type { History } from "./history.ts";
import { empty, json, type Reply, type Request, type Route } from "./http-server.ts";
import { JobQueryError, Jobs } from "./jobs.ts";
import type { ModelFolders } from "./models.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import { type PromptQueue, queueTuple } from "./prompt-queue.ts";
import { isCanonicalUuid, PromptRoute } from "./prompt-routes.ts";
import { PythonError, pythonBool, pythonInt, pythonRepr, pythonTypeName } from "./python-values.ts";
import { serverFeatures, systemStats } from "./system-stats.ts";
import { uploadImage, uploadMask } from "./uploads.ts";
import { view } from "./view.ts";

/** ComfyUI reads no longer safetensors headers. */
const HEADER_BYTES_MAX = 1024 * 1024;

export interface RouteParts {
  readonly catalog: NodeCatalog;
  readonly clients: Clients;
  readonly executor: Executor;
  readonly faults: Faults;
  readonly generation: Generation;
  readonly history: History;
  readonly models: ModelFolders;
  readonly queue: PromptQueue;
  readonly argv: readonly string[];
  readonly bodyBytesMax: number;
  /** The latest lines of the log. */
  logLines(): readonly { readonly t: string; readonly m: string }[];
}

export function routesOf(parts: RouteParts): Route[] {
  const { generation } = parts;
  return [
    ...promptRoutes(parts),
    ...nodeRoutes(parts),
    ...fileRoutes(parts),
    ...modelRoutes(parts.models),
    ...(generation.jobsApi ? jobRoutes(parts) : []),
    ...internalRoutes(parts),
    ...standInRoutes(parts),
  ];
}

function promptRoutes({ queue, history, executor, catalog, generation }: RouteParts): Route[] {
  const prompts = new PromptRoute(queue, catalog, generation);
  return [
    // Reached only without an Upgrade header: with one, the server hands the connection over.
    {
      method: "GET",
      path: "/ws",
      handler: () => ({
        status: 400,
        headers: { "Content-Type": "text/plain; charset=utf-8" },
        body: 'No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".',
      }),
    },
    { method: "POST", path: "/prompt", handler: (request) => prompts.submit(request) },
    { method: "GET", path: "/prompt", handler: () => json({ exec_info: { queue_remaining: queue.remaining } }) },
    {
      method: "GET",
      path: "/queue",
      handler: () =>
        json({
          queue_running: queue.running === undefined ? [] : [queueTuple(queue.running)],
          queue_pending: queue.pending.map(queueTuple),
        }),
    },
    {
      method: "POST",
      path: "/queue",
      handler: async (request) =>
        await clearOrDelete(
          request,
          () => queue.clear(),
          (id) => void queue.delete(id),
        ),
    },
    {
      method: "GET",
      path: "/history",
      handler: ({ query }) =>
        json(history.list(integerParameter(query, "max_items"), integerParameter(query, "offset"))),
    },
    {
      method: "GET",
      path: "/history/{prompt_id}",
      handler: ({ params: { prompt_id: id = "" } }) => {
        const entry = history.get(id);
        return json(new Map(entry === undefined ? [] : [[id, entry]]));
      },
    },
    {
      method: "POST",
      path: "/history",
      handler: async (request) =>
        await clearOrDelete(
          request,
          () => history.clear(),
          (id) => history.delete(hashable(id)),
        ),
    },
    {
      method: "POST",
      path: "/interrupt",
      handler: async (request) => {
        const wanted = await promptToInterrupt(request);
        if (wanted === undefined || queue.running?.promptId === wanted) executor.interrupt();
        return empty(200);
      },
    },
    {
      method: "POST",
      path: "/free",
      handler: async (request) => {
        const body = await request.json();
        if (!isJsonObject(body))
          throw new PythonError("AttributeError", `'${pythonTypeName(body)}' object has no attribute 'get'`);
        const freeMemory = pythonBool(body.free_memory ?? null);
        queue.setFlags({ unloadModels: pythonBool(body.unload_models ?? null), freeMemory });
        return empty(200);
      },
    },
  ];
}

/** The `{clear, delete}` bodies of the queue and the history. */
async function clearOrDelete(request: Request, clear: () => void, remove: (id: Json) => void): Promise<Reply> {
  const body = await request.json();
  if (body === null || (typeof body !== "object" && typeof body !== "string")) {
    throw new PythonError("TypeError", `argument of type '${pythonTypeName(body)}' is not iterable`);
  }
  if (!isJsonObject(body)) return empty(200);
  if (pythonBool(body.clear ?? null)) clear();
  if ("delete" in body) {
    const ids = body.delete ?? null;
    if (ids === null || typeof ids === "number" || typeof ids === "boolean" || typeof ids === "bigint") {
      throw new PythonError("TypeError", `'${pythonTypeName(ids)}' object is not iterable`);
    }
    const listed = isJsonObject(ids) ? Object.keys(ids) : typeof ids === "string" ? [...ids] : ids;
    for (const id of listed) remove(id);
  }
  return empty(200);
}

/** Python looks an id up in a dict, which lists and dicts cannot be keys of. */
function hashable(id: Json): Json {
  if (typeof id === "object" && id !== null) {
    throw new PythonError("TypeError", `unhashable type: '${pythonTypeName(id)}'`);
  }
  return id;
}

/** Undefined means whatever runs. A body that is not JSON counts as none. */
async function promptToInterrupt(request: Request): Promise<Json | undefined> {
  const bytes = await request.bytes();
  let body: Json;
  try {
    body = parseExactJson(bytes.toString("utf8"), { pythonNumbers: true });
  } catch {
    return undefined;
  }
  if (!isJsonObject(body))
    throw new PythonError("AttributeError", `'${pythonTypeName(body)}' object has no attribute 'get'`);
  const id = body.prompt_id ?? null;
  return pythonBool(id) ? id : undefined;
}

function integerParameter(query: URLSearchParams, name: string): number | undefined {
  const given = query.get(name);
  return given === null ? undefined : Number(pythonInt(given));
}

function nodeRoutes({ catalog }: RouteParts): Route[] {
  return [
    { method: "GET", path: "/object_info", handler: () => json(catalog.describeAll()) },
    {
      method: "GET",
      path: "/object_info/{node_class}",
      handler: ({ params: { node_class: name = "" } }) => {
        const described = catalog.describe(name);
        return json(described === undefined ? {} : { [name]: described });
      },
    },
    { method: "GET", path: "/extensions", handler: () => json([]) },
  ];
}

function fileRoutes({ catalog, generation, argv, bodyBytesMax }: RouteParts): Route[] {
  const { folders } = catalog;
  return [
    { method: "GET", path: "/view", handler: (request) => view(request, folders, generation) },
    { method: "POST", path: "/upload/image", handler: (request) => uploadImage(request, folders) },
    { method: "POST", path: "/upload/mask", handler: (request) => uploadMask(request, folders) },
    { method: "GET", path: "/system_stats", handler: () => json(systemStats(generation, argv)) },
    { method: "GET", path: "/features", handler: () => json(serverFeatures(generation, bodyBytesMax)) },
  ];
}

function modelRoutes(models: ModelFolders): Route[] {
  return [
    { method: "GET", path: "/models", handler: () => json(models.folders()) },
    {
      method: "GET",
      path: "/models/{folder}",
      handler: ({ params: { folder = "" } }) => (models.has(folder) ? json(models.list(folder)) : empty(404)),
    },
    {
      method: "GET",
      path: "/embeddings",
      handler: () => json(models.list("embeddings").map((name) => name.replace(/\.[^./]+$/, ""))),
    },
    {
      method: "GET",
      path: "/view_metadata/{folder}",
      handler: async ({ params: { folder = "" }, query }) => {
        const name = query.get("filename") ?? "";
        const file = name.endsWith(".safetensors") ? models.pathOf(folder, name) : undefined;
        const metadata = file === undefined ? undefined : await safetensorsMetadata(file);
        return metadata === undefined ? empty(404) : json(metadata);
      },
    },
  ];
}

/** The `__metadata__` of a safetensors header: eight bytes of length, then JSON. */
async function safetensorsMetadata(file: string): Promise<Json | undefined> {
  const handle = await open(file);
  try {
    const { buffer: length, bytesRead } = await handle.read(Buffer.alloc(8), 0, 8, 0);
    if (bytesRead < 8 || length.readBigUInt64LE() > BigInt(HEADER_BYTES_MAX)) return undefined;
    const header = Buffer.alloc(Number(length.readBigUInt64LE()));
    await handle.read(header, 0, header.length, 8);
    const parsed = parseExactJson(header.toString("utf8"), { pythonNumbers: true });
    return isJsonObject(parsed) ? parsed.__metadata__ : undefined;
  } finally {
    await handle.close();
  }
}

function jobRoutes({ queue, history, executor }: RouteParts): Route[] {
  const jobs = new Jobs(queue, history);
  const cancel = (id: string): boolean => jobs.cancel(id, () => executor.interrupt());
  return [
    {
      method: "GET",
      path: "/api/jobs",
      isExact: true,
      handler: ({ query }) => {
        try {
          return json(jobs.list(query));
        } catch (error) {
          if (error instanceof JobQueryError) return json({ error: error.message }, 400);
          throw error;
        }
      },
    },
    {
      method: "POST",
      path: "/api/jobs/cancel",
      isExact: true,
      handler: async (request) => await cancelSeveral(request, cancel),
    },
    {
      method: "GET",
      path: "/api/jobs/{job_id}",
      isExact: true,
      handler: ({ params: { job_id: id = "" } }) => {
        const job = jobs.get(id);
        return job === undefined ? json({ error: "Job not found" }, 404) : json(job);
      },
    },
    {
      method: "POST",
      path: "/api/jobs/{job_id}/cancel",
      isExact: true,
      handler: ({ params: { job_id: id = "" } }) => json({ cancelled: cancel(id) }),
    },
  ];
}

async function cancelSeveral(request: Request, cancel: (id: string) => boolean): Promise<Reply> {
  let body: Json;
  try {
    body = parseExactJson((await request.bytes()).toString("utf8"), { pythonNumbers: true });
  } catch {
    return json({ error: "Request body must be valid JSON" }, 400);
  }
  const ids = isJsonObject(body) ? body.job_ids : undefined;
  if (!Array.isArray(ids)) return json({ error: "job_ids must be a list" }, 400);
  const invalid = ids.filter((id) => !isCanonicalUuid(id)).map((id) => (typeof id === "string" ? id : pythonRepr(id)));
  if (invalid.length > 0) return json({ error: "job_ids contains invalid id(s)", invalid_ids: invalid }, 400);
  const cancelled = ids.filter(isCanonicalUuid).map(cancel);
  return json({ cancelled: cancelled.includes(true) });
}

function internalRoutes({ catalog, models, logLines }: RouteParts): Route[] {
  const { folders } = catalog;
  return [
    {
      method: "GET",
      path: "/internal/logs",
      isExact: true,
      handler: () =>
        json(
          logLines()
            .map(({ t, m }) => `${t} - ${m}`)
            .join(""),
        ),
    },
    {
      method: "GET",
      path: "/internal/logs/raw",
      isExact: true,
      handler: () => json({ entries: logLines(), size: { cols: 80, rows: 24 } }),
    },
    {
      method: "GET",
      path: "/internal/folder_paths",
      isExact: true,
      handler: () => json(models.paths()),
    },
    {
      method: "GET",
      path: "/internal/files/{type}",
      isExact: true,
      handler: ({ params: { type = "" } }) => {
        const folder = folderOf(type, folders);
        if (folder === undefined) return json({ error: "Invalid directory type" }, 400);
        return json(
          readdirSync(folder, { withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map(({ name }) => annotatedName(name).name),
        );
      },
    },
  ];
}

/** The stand-in's own corner: what it is, and its faults. */
function standInRoutes({ faults, clients, history }: RouteParts): Route[] {
  const path = "/stand-in/faults";
  return [
    {
      method: "GET",
      path: "/",
      isExact: true,
      handler: () => ({
        status: 200,
        headers: { "Content-Type": "text/plain; charset=utf-8" },
        body: "This is the Pilotlight stand-in for ComfyUI: it speaks its protocol and has no editor and no models.\n",
      }),
    },
    { method: "GET", path, isExact: true, handler: () => json(faults.asJson()) },
    {
      method: "DELETE",
      path,
      isExact: true,
      handler: () => {
        faults.reset();
        return json(faults.asJson());
      },
    },
    {
      method: "POST",
      path,
      isExact: true,
      handler: async (request) => {
        const body = await request.json();
        try {
          const actions = faults.change(body);
          if (actions.dropSockets) clients.dropAll();
          if (actions.clearHistory) history.clear();
          if (actions.hangMs > 0) setTimeout(() => blockThread(actions.hangMs), 20);
          return json(faults.asJson());
        } catch (error) {
          if (error instanceof TypeError) return json({ error: error.message }, 400);
          throw error;
        }
      },
    },
  ];
}

/** Stops the whole program for a while: no request is answered, no frame is sent, and no signal is heard. */
function blockThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
