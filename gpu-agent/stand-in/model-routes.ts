/** The models a server has, and what their files say about themselves. */
import { open } from "node:fs/promises";
import { isJsonObject, type Json, parseExactJson } from "#contract/exact-json";
import { empty, json, type Route } from "./http-server.ts";
import type { ModelFolders } from "./models.ts";

/** ComfyUI reads no longer safetensors headers. */
const HEADER_BYTES_MAX = 1024 * 1024;

/** `/models`, `/embeddings` and `/view_metadata`. */
export function modelRoutes(models: ModelFolders): Route[] {
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
