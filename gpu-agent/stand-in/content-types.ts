/** File name to content type, as Python's mimetypes module answers for the files ComfyUI writes and reads. */
import path from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".aac": "audio/aac",
  ".aiff": "audio/x-aiff",
  ".apng": "image/apng",
  ".avi": "video/x-msvideo",
  ".avif": "image/avif",
  ".bmp": "image/bmp",
  ".css": "text/css",
  ".csv": "text/csv",
  ".flac": "audio/flac",
  ".gif": "image/gif",
  ".glb": "model/gltf-binary",
  ".gltf": "model/gltf+json",
  ".htm": "text/html",
  ".html": "text/html",
  ".ico": "image/vnd.microsoft.icon",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "application/javascript; charset=utf-8",
  ".json": "application/json",
  ".m4a": "audio/mp4",
  ".m4v": "video/mp4",
  ".md": "text/markdown",
  ".mkv": "video/x-matroska",
  ".mov": "video/quicktime",
  ".mp3": "audio/mpeg",
  ".mp4": "video/mp4",
  ".mpeg": "video/mpeg",
  ".obj": "model/obj",
  ".ogg": "audio/ogg",
  ".opus": "audio/ogg",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".tif": "image/tiff",
  ".tiff": "image/tiff",
  ".txt": "text/plain",
  ".wav": "audio/x-wav",
  ".webm": "video/webm",
  ".webp": "image/webp",
  ".xhtml": "application/xhtml+xml",
  ".xml": "application/xml",
  ".zip": "application/zip",
};

/** Types that newer servers know besides. */
const NEWER_TYPES: Readonly<Record<string, string>> = {
  ".safetensors": "application/safetensors",
  ".yaml": "application/yaml",
  ".yml": "application/yaml",
};

/** The type as newer servers see it. */
export function newerContentTypeOf(name: string): string | undefined {
  return NEWER_TYPES[path.extname(name).toLowerCase()] ?? contentTypeOf(name);
}

/** Undefined for a name whose ending says nothing. */
export function contentTypeOf(name: string): string | undefined {
  return TYPES[path.extname(name).toLowerCase()];
}

/** True when the name says image, audio, video or whichever of these is asked for. */
export function isOfKind(name: string, kinds: readonly string[]): boolean {
  const type = contentTypeOf(name);
  return type !== undefined && kinds.includes(type.slice(0, type.indexOf("/")));
}
