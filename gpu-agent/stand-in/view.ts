/** `GET /view`: a file of the input, output or temp folder, as it is or re-encoded. */
import { stat } from "node:fs/promises";
import path from "node:path";
import { annotatedName, folderOf, isWithin } from "./annotated-names.ts";
import { contentTypeOf, newerContentTypeOf } from "./content-types.ts";
import { fileReply } from "./file-response.ts";
import type { Generation } from "./generations.ts";
import { empty, type Reply, type Request } from "./http-server.ts";
import type { Folders } from "./node.ts";

/** Types a browser would run, which are sent as plain bytes. */
const ACTIVE_TYPES = ["text/html", "application/xhtml+xml", "text/javascript", "text/css"];
const ACTIVE_TYPES_NEWER = [
  ...ACTIVE_TYPES,
  "application/javascript; charset=utf-8",
  "image/svg+xml",
  "application/xml",
];
const PREVIEW_QUALITY = 90;

export async function view(request: Request, folders: Folders, generation: Generation): Promise<Reply> {
  const { query } = request;
  const given = query.get("filename");
  if (given === null) return empty(404);
  const annotated = annotatedName(given);
  if (annotated.name === "" || annotated.name.startsWith("/") || annotated.name.includes("..")) return empty(400);
  const base = folderOf(annotated.type ?? query.get("type") ?? "output", folders);
  if (base === undefined) return empty(400);
  const folder = path.resolve(base, query.get("subfolder") ?? "");
  if (!isWithin(base, folder)) return empty(403);
  const name = path.basename(annotated.name);
  const file = path.join(folder, name);
  if (!(await isFile(file))) return empty(404);

  const preview = query.get("preview");
  const channel = query.get("channel") ?? "rgba";
  if (preview !== null) return await previewReply(file, name, preview, query.get("channel") ?? "");
  if (channel === "rgb" || channel === "a") return await channelReply(file, name, channel);
  return await plainReply(request, file, name, generation);
}

async function plainReply(request: Request, file: string, name: string, generation: Generation): Promise<Reply> {
  if (!generation.forcesDownloads) {
    const guessed = contentTypeOf(name) ?? "application/octet-stream";
    const type = ACTIVE_TYPES.includes(guessed) ? "application/octet-stream" : guessed;
    return await fileReply(request, file, { "Content-Disposition": disposition(name), "Content-Type": type });
  }
  const guessed = newerContentTypeOf(name) ?? "application/octet-stream";
  const quoted = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  const headers = { "X-Content-Type-Options": "nosniff" };
  if (!ACTIVE_TYPES_NEWER.includes(guessed)) {
    return await fileReply(request, file, {
      ...headers,
      "Content-Disposition": disposition(quoted),
      "Content-Type": guessed,
    });
  }
  return await fileReply(request, file, {
    ...headers,
    Vary: "Sec-Fetch-Dest",
    "Cache-Control": "no-store",
    "Content-Disposition": `attachment; ${disposition(quoted)}`,
    "Content-Type": "application/octet-stream",
  });
}

/** Header values go out byte by byte, and aiohttp's bytes are UTF-8. */
function disposition(name: string): string {
  return `filename="${Buffer.from(name, "utf8").toString("latin1")}"`;
}

/** `preview=webp;50`: a format, then perhaps a quality. Alpha needs webp. */
async function previewReply(file: string, name: string, preview: string, channel: string): Promise<Reply> {
  const { default: sharp } = await import("sharp");
  const parts = preview.split(";");
  const last = parts.at(-1) ?? "";
  const asked = parts[0];
  const format = asked === "jpeg" && !channel.includes("a") ? "jpeg" : "webp";
  const quality = /^\d+$/.test(last) ? Math.min(100, Math.max(1, Number(last))) : PREVIEW_QUALITY;
  const image = format === "jpeg" || channel === "rgb" ? sharp(file).removeAlpha() : sharp(file);
  const body = await (format === "jpeg" ? image.jpeg({ quality }) : image.webp({ quality })).toBuffer();
  return imageReply(body, name, `image/${format}`);
}

async function channelReply(file: string, name: string, channel: "rgb" | "a"): Promise<Reply> {
  const { default: sharp } = await import("sharp");
  if (channel === "rgb") return imageReply(await sharp(file).removeAlpha().png().toBuffer(), name, "image/png");
  const { data, info } = await sharp(file).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  // Black, with the picture's alpha: what the mask editor draws on.
  for (let at = 0; at < data.length; at += 4) data.fill(0, at, at + 3);
  const { width, height } = info;
  const body = await sharp(data, { raw: { width, height, channels: 4 } })
    .png()
    .toBuffer();
  return imageReply(body, name, "image/png");
}

function imageReply(body: Buffer, name: string, type: string): Reply {
  return { status: 200, headers: { "Content-Type": type, "Content-Disposition": disposition(name) }, body };
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}
