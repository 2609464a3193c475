/** Hashes and MACs over Web Crypto, and the two spellings of bytes we use. */

const encoder = new TextEncoder();

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function hex(bytes: ArrayBuffer | Uint8Array): string {
  let text = "";
  for (const byte of bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes)) text += HEX[byte];
  return text;
}

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** SHA-256 in hexadecimal. */
export async function sha256Hex(data: string | Uint8Array): Promise<string> {
  return hex(await crypto.subtle.digest("SHA-256", typeof data === "string" ? encoder.encode(data) : data));
}

/** What a key is for; each purpose has a key of its own, so that a MAC made for one never passes for another. */
export type SigningPurpose = "node session" | "output link" | "cursor";

/** At least this many characters of SIGNING_SECRET. */
const SECRET_LENGTH_MIN = 32;

/** Derived keys of the one secret this isolate has, for the few purposes there are. */
let derived: { readonly secret: string; readonly keys: Map<SigningPurpose, CryptoKey> } | undefined;

/**
 * The key for a purpose, derived from the deployment's secret.
 * @throws Error when the secret is missing or short: no signature is better than a guessable one
 */
export async function signingKey(secret: string | undefined, purpose: SigningPurpose): Promise<CryptoKey> {
  if (secret === undefined || secret.length < SECRET_LENGTH_MIN) {
    throw new Error(`SIGNING_SECRET must have at least ${SECRET_LENGTH_MIN} characters`);
  }
  if (derived?.secret !== secret) derived = { secret, keys: new Map() };
  const { keys } = derived;
  const known = keys.get(purpose);
  if (known !== undefined) return known;
  const key = await hmacKey(await hmac(await hmacKey(encoder.encode(secret)), `pilotlight ${purpose}`));
  keys.set(purpose, key);
  return key;
}

function hmacKey(bytes: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
}

/** HMAC-SHA256. */
export async function hmac(key: CryptoKey, text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(text)));
}

/** Compares in a time that does not tell where two texts differ. */
export function sameText(a: string, b: string): boolean {
  const left = encoder.encode(a);
  const right = encoder.encode(b);
  return left.byteLength === right.byteLength && crypto.subtle.timingSafeEqual(left, right);
}
