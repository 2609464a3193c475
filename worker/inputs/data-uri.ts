export type DecodedDataUri =
  | { readonly ok: true; readonly contentType: string; readonly bytes: Uint8Array }
  | { readonly ok: false; readonly reason: string };

/** Reads a data: URI (RFC 2397), base64 or percent-encoded. `contentType` is what it claims, without parameters. */
export function decodeDataUri(uri: string): DecodedDataUri {
  const comma = uri.indexOf(",");
  if (!uri.slice(0, 5).toLowerCase().startsWith("data:") || comma === -1) {
    return { ok: false, reason: "Must be data:<type>;base64,<bytes>." };
  }
  const [type = "", ...parameters] = uri.slice(5, comma).split(";");
  const payload = uri.slice(comma + 1);
  const base64 = parameters.at(-1)?.trim().toLowerCase() === "base64";
  const bytes = base64 ? fromBase64(payload) : fromPercent(payload);
  if (bytes === undefined) return { ok: false, reason: base64 ? "The base64 is broken." : "The %-encoding is broken." };
  return { ok: true, contentType: type.trim().toLowerCase() || "application/octet-stream", bytes };
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

function fromPercent(text: string): Uint8Array | undefined {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return undefined;
  const pieces = text.split("%");
  const encoder = new TextEncoder();
  const bytes: number[] = [...encoder.encode(pieces[0])];
  for (const piece of pieces.slice(1)) {
    bytes.push(Number.parseInt(piece.slice(0, 2), 16));
    for (const byte of encoder.encode(piece.slice(2))) bytes.push(byte);
  }
  return new Uint8Array(bytes);
}
