import { IMAGE_PIXELS_MAX } from "#contract/limits";
import type { MediaKind } from "#contract/workflow";
import { IMAGE_TYPES, imageHeader, imageType } from "#worker/inputs/image-header";

export type CheckedType =
  | { readonly ok: true; readonly contentType: string }
  | { readonly ok: false; readonly reason: string };

/**
 * Decides what a file is from its first bytes and what it claims to be. Pictures must be what they say and of a size
 * that a GPU machine can open; what is no picture keeps its claim.
 * @param head the start of the file, its first megabytes
 */
export function checkedType(head: Uint8Array, claimed: string): CheckedType {
  const claim = claimed.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const found = imageType(head);
  if (found === undefined) {
    if (claim.startsWith("image/")) {
      return { ok: false, reason: `It is sent as ${claim}, but its bytes are no PNG, JPEG, WebP or GIF.` };
    }
    return { ok: true, contentType: isMediaType(claim) ? claim : "application/octet-stream" };
  }
  if (isMediaType(claim) && claim !== found && !isUnnamed(claim) && claim !== "image/jpg") {
    return { ok: false, reason: `It is sent as ${claim}, but its bytes are ${found}.` };
  }
  const header = imageHeader(head);
  if (header === undefined)
    return { ok: false, reason: `It starts as ${found}, but its size in pixels cannot be read.` };
  const pixels = header.width * header.height;
  if (pixels > IMAGE_PIXELS_MAX) {
    return {
      ok: false,
      reason: `It has ${header.width} × ${header.height} pixels; at most ${IMAGE_PIXELS_MAX} are taken.`,
    };
  }
  return { ok: true, contentType: found };
}

/** What is wrong with a file of that type as a value of an input of that kind, or undefined. */
export function misfit(contentType: string, media: MediaKind): string | undefined {
  const fits =
    media === "file" ||
    ((media === "image" || media === "mask") && IMAGE_TYPES.includes(contentType)) ||
    (media === "video" &&
      (contentType.startsWith("video/") || contentType === "image/gif" || isUnnamed(contentType))) ||
    (media === "audio" &&
      (contentType.startsWith("audio/") || contentType.startsWith("video/") || isUnnamed(contentType)));
  if (fits) return undefined;
  const wanted =
    media === "image" || media === "mask" ? "a PNG, JPEG, WebP or GIF picture" : `a file of type ${media}/*`;
  return `Must be ${wanted}; this one is ${contentType}.`;
}

/** What servers say when they say nothing; the second one is S3's. */
const UNNAMED_TYPES: readonly string[] = [
  "application/octet-stream",
  "binary/octet-stream",
  "application/x-download",
  "application/force-download",
];

function isUnnamed(contentType: string): boolean {
  return UNNAMED_TYPES.includes(contentType);
}

function isMediaType(text: string): boolean {
  return /^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}$/.test(text);
}
