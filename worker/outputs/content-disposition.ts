/** Types a browser may show: it draws or plays them and runs nothing that is in them. Everything else is saved. */
const INLINE_TYPES: readonly string[] = [
  "image/png",
  "image/jpeg",
  "image/webp",
  "image/gif",
  "video/mp4",
  "video/webm",
  "audio/mpeg",
  "audio/wav",
  "audio/x-wav",
  "audio/flac",
  "audio/ogg",
  "text/plain",
];

/**
 * Content-Disposition for a file (RFC 6266): the name in ASCII for old readers, and whole by RFC 8187.
 * @param contentType as servedType gives it
 */
export function contentDisposition(contentType: string, filename: string): string {
  const kind = INLINE_TYPES.includes(contentType.split(";", 1)[0] ?? "") ? "inline" : "attachment";
  const plain = filename.toWellFormed().replaceAll(/[\u0000-\u001f\u007f\u2028\u2029]/g, "");
  const ascii = plain.replaceAll(/[^\u0020-\u007e]|["\\%/]/g, "_");
  return `${kind}; filename="${ascii}"; filename*=UTF-8''${rfc8187(plain)}`;
}

/** Percent-encodes all but the RFC's attr-char. */
function rfc8187(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
