/** Standard Webhooks signatures, verified by hand from the specification: nothing of the sender is used here. */
import { createHmac, createPublicKey, timingSafeEqual, verify } from "node:crypto";
import type { ReceivedMessage } from "./evidence.ts";

/** What precedes the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410). */
const ED25519_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

/**
 * Judges a message's signatures: each known version must be there and right.
 * @param secret `whsec_` and base64
 * @param publicKey 32 bytes in base64, with or without `whpk_`
 * @returns what is wrong, in words; null for a good message
 */
export function signatureFault(message: ReceivedMessage, secret: string, publicKey: string): string | null {
  if (!/^[A-Za-z0-9_-]+$/.test(message.id)) return `the id ${JSON.stringify(message.id)} is none`;
  if (!/^[0-9]{10}$/.test(message.timestamp)) return `the timestamp ${JSON.stringify(message.timestamp)} is none`;
  const content = Buffer.from(`${message.id}.${message.timestamp}.${message.body}`, "utf8");
  const signatures = message.signature.split(" ").map((one) => {
    const comma = one.indexOf(",");
    return { version: one.slice(0, comma), value: Buffer.from(one.slice(comma + 1), "base64") };
  });
  const symmetric = createHmac("sha256", Buffer.from(secret.replace(/^whsec_/, ""), "base64"))
    .update(content)
    .digest();
  const raw = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64");
  const key = createPublicKey({ key: Buffer.concat([ED25519_PREFIX, raw]), format: "der", type: "spki" });
  const of = (version: string) => signatures.filter((one) => one.version === version);
  if (of("v1").length === 0) return "there is no v1 signature";
  if (!of("v1").some(({ value }) => value.length === symmetric.length && timingSafeEqual(value, symmetric))) {
    return "no v1 signature is of this secret";
  }
  if (of("v1a").length === 0) return "there is no v1a signature";
  if (!of("v1a").some(({ value }) => verify(null, content, key, value)))
    return "no v1a signature is of the published key";
  return null;
}
