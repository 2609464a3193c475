export type DecodedDataUri =
  | { readonly ok: true; readonly contentType: string; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly reason: string };

/** Reads a data: URI (RFC 2397) in base64. `contentType` is what it claims, without parameters. */
export function decodeDataUri(uri: string): DecodedDataUri {
  const match = /^data:([^;,]*)(?:;[^;,]*)*;base64,/i.exec(uri);
  if (match === null) return { ok: false, reason: "Must be data:<type>;base64,<bytes>." };
  const bytes = fromBase64(uri.slice(match[0].length));
  if (bytes === undefined) return { ok: false, reason: "The base64 is broken." };
  return { ok: true, contentType: match[1]?.trim().toLowerCase() || "application/octet-stream", bytes };
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
