/** Every route of the server, gathered; the smallest ones are here. */
import { readdirSync } from "node:fs";
import { folderOf } from "./annotated-names.ts";
import type { Clients } from "./clients.ts";
import type { Executions } from "./executions.ts";
import type { Executor } from "./executor.ts";
import type { Faults } from "./faults.ts";
import type { Generation } from "./generations.ts";
import type { History } from "./history.ts";
import { json, type Route } from "./http-server.ts";
import { jobRoutes } from "./job-routes.ts";
import { modelRoutes } from "./model-routes.ts";
import type { ModelFolders } from "./models.ts";
import type { NodeCatalog } from "./node-catalog.ts";
import type { PromptQueue } from "./prompt-queue.ts";
import { queueRoutes } from "./queue-routes.ts";
import { standInRoutes } from "./stand-in-routes.ts";
import { serverFeatures, systemStats } from "./system-stats.ts";
import { uploadImage, uploadMask } from "./uploads.ts";
import { view } from "./view.ts";

export interface RouteParts {
  readonly catalog: NodeCatalog;
  readonly clients: Clients;
  readonly executions: Executions;
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

/** All routes, in the order they are tried. */
export function routesOf(parts: RouteParts): Route[] {
  const { generation } = parts;
  return [
    ...queueRoutes(parts),
    ...nodeRoutes(parts),
    ...fileRoutes(parts),
    ...modelRoutes(parts.models),
    ...(generation.jobsApi ? jobRoutes(parts) : []),
    ...internalRoutes(parts),
    ...standInRoutes(parts),
  ];
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
            .map(({ name }) => name),
        );
      },
    },
  ];
}
