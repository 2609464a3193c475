/** What a file is, told from its extension: keys and node classes lie (a WebM comes under "images"). */
import type { OutputKind } from "#contract/workflow";

export interface FileType {
  readonly contentType: string;
  readonly kind: OutputKind;
}

const TYPES = new Map<string, readonly [string, OutputKind]>(
  Object.entries({
    png: ["image/png", "image"],
    apng: ["image/apng", "image"],
    jpg: ["image/jpeg", "image"],
    jpeg: ["image/jpeg", "image"],
    webp: ["image/webp", "image"],
    gif: ["image/gif", "image"],
    avif: ["image/avif", "image"],
    jxl: ["image/jxl", "image"],
    bmp: ["image/bmp", "image"],
    tif: ["image/tiff", "image"],
    tiff: ["image/tiff", "image"],
    svg: ["image/svg+xml", "image"],
    exr: ["image/x-exr", "image"],
    hdr: ["image/vnd.radiance", "image"],
    mp4: ["video/mp4", "video"],
    m4v: ["video/mp4", "video"],
    webm: ["video/webm", "video"],
    mkv: ["video/x-matroska", "video"],
    mov: ["video/quicktime", "video"],
    avi: ["video/x-msvideo", "video"],
    mp3: ["audio/mpeg", "audio"],
    wav: ["audio/wav", "audio"],
    flac: ["audio/flac", "audio"],
    ogg: ["audio/ogg", "audio"],
    opus: ["audio/ogg", "audio"],
    m4a: ["audio/mp4", "audio"],
    aac: ["audio/aac", "audio"],
    txt: ["text/plain; charset=utf-8", "text"],
    md: ["text/markdown; charset=utf-8", "text"],
    csv: ["text/csv; charset=utf-8", "text"],
    srt: ["application/x-subrip", "text"],
    vtt: ["text/vtt; charset=utf-8", "text"],
    json: ["application/json", "text"],
    glb: ["model/gltf-binary", "model3d"],
    gltf: ["model/gltf+json", "model3d"],
    obj: ["model/obj", "model3d"],
    stl: ["model/stl", "model3d"],
    ply: ["application/x-ply", "model3d"],
    fbx: ["application/octet-stream", "model3d"],
    usdz: ["model/vnd.usdz+zip", "model3d"],
    splat: ["application/octet-stream", "model3d"],
    spz: ["application/octet-stream", "model3d"],
    zip: ["application/zip", "file"],
    pdf: ["application/pdf", "file"],
  }),
);

/** The extension in lower case without its dot, or "" when there is none worth the name. */
export function extensionOf(filename: string): string {
  return /[^/]\.([A-Za-z0-9]{1,12})$/.exec(filename)?.[1]?.toLowerCase() ?? "";
}

export function fileType(filename: string): FileType {
  const [contentType, kind] = TYPES.get(extensionOf(filename)) ?? ["application/octet-stream", "file"];
  return { contentType, kind };
}
