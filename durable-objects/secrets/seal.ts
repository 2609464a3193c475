/** Secrets at rest: AES-256-GCM under a key derived from the deployment's SIGNING_SECRET. */

/** What is sealed; each purpose has a key of its own, so that one's ciphertext means nothing to another. */
export type SealPurpose = "webhook secret" | "idempotent answer";

/** At least this many characters of SIGNING_SECRET: a guessable key seals nothing. */
const SECRET_LENGTH_MIN = 32;
const NONCE_BYTES = 12;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Key material for a purpose: HKDF-SHA256 of the deployment's secret.
 * @throws Error when the secret is missing or short
 */
export async function deriveBytes(
  secret: string | undefined,
  purpose: string,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (secret === undefined || secret.length < SECRET_LENGTH_MIN) {
    throw new Error(`SIGNING_SECRET must have at least ${SECRET_LENGTH_MIN} characters`);
  }
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, ["deriveBits"]);
  const info = encoder.encode(`pilotlight ${purpose}`);
  const params = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(32), info };
  return new Uint8Array(await crypto.subtle.deriveBits(params, key, length * 8));
}

/**
 * Seals a text.
 * @param context what it belongs to (workspace, id): opened under another one, it is refused
 * @returns base64 of nonce and ciphertext
 */
export async function seal(
  secret: string | undefined,
  purpose: SealPurpose,
  context: string,
  text: string,
): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const key = await sealingKey(secret, purpose);
  const params = { name: "AES-GCM", iv, additionalData: encoder.encode(context) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(params, key, encoder.encode(text)));
  const whole = new Uint8Array(iv.length + sealed.length);
  whole.set(iv);
  whole.set(sealed, iv.length);
  // Byte by byte: a spread of a long answer would be too many arguments.
  return btoa(Array.from(whole, (byte) => String.fromCharCode(byte)).join(""));
}

/**
 * Opens what was sealed.
 * @throws when it was altered, or sealed for another purpose, context or deployment
 */
export async function unseal(
  secret: string | undefined,
  purpose: SealPurpose,
  context: string,
  sealed: string,
): Promise<string> {
  const whole = Uint8Array.from(atob(sealed), (char) => char.charCodeAt(0));
  const key = await sealingKey(secret, purpose);
  const params = { name: "AES-GCM", iv: whole.subarray(0, NONCE_BYTES), additionalData: encoder.encode(context) };
  return decoder.decode(await crypto.subtle.decrypt(params, key, whole.subarray(NONCE_BYTES)));
}

async function sealingKey(secret: string | undefined, purpose: SealPurpose) {
  const raw = await deriveBytes(secret, `seal ${purpose}`, 32);
  return crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
}
