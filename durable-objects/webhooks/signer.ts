/** Signs webhook messages: `v1` with a webhook's secrets, `v1a` with the deployment's Ed25519 key. */
import { messageHeaders, type Signature, signedContent } from "#durable-objects/outbox/signed-content";
import { deriveBytes } from "#durable-objects/secrets/seal";

/** What precedes a seed of 32 bytes in an Ed25519 key as PKCS #8 writes it (RFC 8410). */
const PKCS8_PREFIX = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED_BYTES = 32;

/** The deployment's key pair. */
export interface SigningKey {
  readonly privateKey: Awaited<ReturnType<typeof crypto.subtle.importKey>>;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** The key pair of a deployment, the same each time; made from its SIGNING_SECRET. */
export async function deploymentKey(signingSecret: string | undefined): Promise<SigningKey> {
  return keyFromSeed(await deriveBytes(signingSecret, "webhook ed25519", SEED_BYTES));
}

/** @param seed 32 bytes, the private key of RFC 8032 */
export async function keyFromSeed(seed: Uint8Array): Promise<SigningKey> {
  const pkcs8 = new Uint8Array(PKCS8_PREFIX.length + SEED_BYTES);
  pkcs8.set(PKCS8_PREFIX);
  pkcs8.set(seed, PKCS8_PREFIX.length);
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, true, ["sign"]);
  const jwk = (await crypto.subtle.exportKey("jwk", privateKey)) as { readonly x?: string };
  return { privateKey, publicKey: bytesOf(jwk.x ?? "") };
}

/** The RFC 7638 thumbprint of the public key, which names it in the JWKS. */
export async function keyId(publicKey: Uint8Array): Promise<string> {
  const canonical = `{"crv":"Ed25519","kty":"OKP","x":"${base64url(publicKey)}"}`;
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonical))));
}

/**
 * The headers of one try.
 * @param secrets bytes of the live secrets, the newest first
 * @param timestampS Unix seconds of this try
 */
export async function signedHeaders(
  message: { readonly id: string; readonly timestampS: number; readonly body: string },
  secrets: readonly Uint8Array<ArrayBuffer>[],
  key: SigningKey,
): Promise<Record<string, string>> {
  const content = signedContent(message.id, message.timestampS, message.body);
  const signatures: Signature[] = [];
  for (const secret of secrets) signatures.push({ version: "v1", bytes: await hmac(secret, content) });
  const v1a = await crypto.subtle.sign({ name: "Ed25519" }, key.privateKey, content);
  signatures.push({ version: "v1a", bytes: new Uint8Array(v1a) });
  return messageHeaders(message.id, message.timestampS, signatures);
}

async function hmac(secret: Uint8Array<ArrayBuffer>, content: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, content));
}

export function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function bytesOf(encoded: string): Uint8Array {
  return Uint8Array.from(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
}
