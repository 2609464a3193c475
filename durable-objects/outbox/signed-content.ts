/** What is signed, and how signatures are written, as Standard Webhooks 1.0.0 say. */
import { WEBHOOK_ID_HEADER, WEBHOOK_SIGNATURE_HEADER, WEBHOOK_TIMESTAMP_HEADER } from "#contract/webhook";

/** Of a secret before its encoding. */
export const SECRET_BYTES_MIN = 24;
export const SECRET_BYTES_MAX = 64;
/** Of the secrets we make. */
export const SECRET_BYTES = 32;

/**
 * The bytes that every signature of a try is of.
 * @param timestampS Unix seconds of this try
 * @throws RangeError when the id or the timestamp holds a full stop: other parts would have the same signature
 */
export function signedContent(messageId: string, timestampS: number, body: string): Uint8Array<ArrayBuffer> {
  if (!/^[A-Za-z0-9_-]+$/.test(messageId) || !Number.isSafeInteger(timestampS)) {
    throw new RangeError("a message's id is letters, digits, _ and -, and its timestamp whole seconds");
  }
  return Uint8Array.from(new TextEncoder().encode(`${messageId}.${timestampS}.${body}`));
}

export interface Signature {
  /** v1: HMAC-SHA256; v1a: Ed25519. */
  readonly version: "v1" | "v1a";
  readonly bytes: Uint8Array;
}

/** The headers of a try. @param signatures the newest secret's first */
export function messageHeaders(
  messageId: string,
  timestampS: number,
  signatures: readonly Signature[],
): Record<string, string> {
  return {
    "content-type": "application/json",
    [WEBHOOK_ID_HEADER]: messageId,
    [WEBHOOK_TIMESTAMP_HEADER]: String(timestampS),
    [WEBHOOK_SIGNATURE_HEADER]: signatures.map(({ version, bytes }) => `${version},${base64(bytes)}`).join(" "),
  };
}

/** A secret as people handle it: `whsec_` and base64. */
export function secretText(bytes: Uint8Array): string {
  return `whsec_${base64(bytes)}`;
}

/** A public key as Standard Webhooks write it: `whpk_` and base64. */
export function publicKeyText(bytes: Uint8Array): string {
  return `whpk_${base64(bytes)}`;
}

/** The key inside `whsec_…`. @throws RangeError when it is none, or not 24 to 64 bytes long */
export function secretBytes(text: string): Uint8Array<ArrayBuffer> {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1];
  const bytes = encoded === undefined ? new Uint8Array(0) : Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  if (bytes.length >= SECRET_BYTES_MIN && bytes.length <= SECRET_BYTES_MAX) return bytes;
  throw new RangeError("a secret is whsec_ and 24 to 64 bytes in base64");
}

/** A secret's first and last characters, enough to tell two apart. */
export function secretHint(text: string): string {
  return `whsec_…${text.slice(-4)}`;
}

export function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
