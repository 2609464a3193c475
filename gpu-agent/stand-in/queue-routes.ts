/** Submitting, looking at and stopping prompts. */
import { isJsonObject, type Json, parseExactJson } from "#contract/exact-json";
import { empty, json, type Reply, type Request, type Route } from "./http-server.ts";
import { queueTuple } from "./prompt-queue.ts";
import { PromptSubmission } from "./prompt-submission.ts";
import { PythonError, pythonBool, pythonInt, pythonTypeName } from "./python-values.ts";
import type { RouteParts } from "./routes.ts";

/** `/prompt`, `/queue`, `/history`, `/interrupt` and `/free`. */
export function queueRoutes({ queue, history, executor, catalog, generation }: RouteParts): Route[] {
  const prompts = new PromptSubmission(queue, catalog, generation);
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
