export type DecodedDataUri =
  | { readonly ok: true; readonly contentType: string; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly reason: string };

/** Reads a data: URI (RFC 2397) in base64. `contentType` is what it claims, without parameters. */
export function decodeDataUri(uri: string): DecodedDataUri {
  // By position, not by a pattern: one that repeats runs out of stack on millions of parameters.
  const comma = uri.indexOf(",");
  const head = uri.slice(0, Math.max(0, comma));
  if (head.slice(0, 5).toLowerCase() !== "data:" || head.slice(-7).toLowerCase() !== ";base64") {
    return { ok: false, reason: "Must be data:<type>;base64,<bytes>." };
  }
  const bytes = fromBase64(uri.slice(comma + 1));
  if (bytes === undefined) return { ok: false, reason: "The base64 is broken." };
  const contentType = head.slice(5, head.indexOf(";")).trim().toLowerCase() || "application/octet-stream";
  return { ok: true, contentType, bytes };
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    // Both alphabets, with padding or without: clients differ, and the bytes mean the same.
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
    return bytes;
  } catch {
    return undefined;
  }
}
