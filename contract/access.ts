/** Who may do what: scopes, API keys, and the form of every secret we hand out. */
import * as z from "zod";
import { KeyId, type RandomBytes, WorkspaceId } from "#contract/ids";
import { PersonText } from "#contract/person-text";

/**
 * read: see everything. run: submit and cancel jobs, upload files. deploy: endpoints. admin: keys, pods, join tokens.
 * Each one stands alone, but admin holds all.
 */
export const Scope = z.enum(["read", "run", "deploy", "admin"]);
export type Scope = z.infer<typeof Scope>;

export const ApiKey = z
  .object({
    id: KeyId,
    name: z.string(),
    scopes: z.array(Scope),
    hint: z.string().meta({ description: "Its first and last characters", examples: ["pl_…x7Qa"] }),
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime().nullable(),
    revoked_at: z.iso.datetime().nullable(),
    key: z.string().optional().meta({ description: "Shown once, when it is made" }),
  })
  .meta({ id: "ApiKey" });
export type ApiKey = z.infer<typeof ApiKey>;

export const NewApiKey = z
  .strictObject({
    name: PersonText.min(1).max(200),
    scopes: z.array(Scope).min(1),
    expires_in: z
      .int()
      .min(60)
      .max(10 * 365 * 86_400)
      .optional()
      .meta({ description: "Seconds" }),
  })
  .meta({ id: "NewApiKey" });

export const Me = z
  .object({ workspace_id: WorkspaceId, workspace: z.string(), key_id: KeyId, scopes: z.array(Scope) })
  .meta({ id: "Me" });

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_BITS = 160;
const SECRET_LENGTH = 27; // 62^27 > 2^160
const CHECKSUM_LENGTH = 6; // 62^6 > 2^32

/** `pl_` opens the public API, `plj_` lets a machine join a pod. */
export type SecretPrefix = "pl" | "plj";

/** Makes a secret: prefix, 160 random bits in base 62, and a checksum that tells a typo from a revoked key. */
export function makeSecret(prefix: SecretPrefix, randomBytes: RandomBytes): string {
  const bits = randomBytes(SECRET_BITS / 8).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const body = `${prefix}_${base62(bits, SECRET_LENGTH)}`;
  return body + base62(BigInt(crc32(body)), CHECKSUM_LENGTH);
}

/** True when the text has the form and the checksum of such a secret; says nothing about whether it is known. */
export function isWellFormedSecret(prefix: SecretPrefix, text: string): boolean {
  if (!new RegExp(`^${prefix}_[0-9A-Za-z]{${SECRET_LENGTH + CHECKSUM_LENGTH}}$`).test(text)) return false;
  const body = text.slice(0, -CHECKSUM_LENGTH);
  return base62(BigInt(crc32(body)), CHECKSUM_LENGTH) === text.slice(-CHECKSUM_LENGTH);
}

function base62(value: bigint, length: number): string {
  let rest = value;
  let text = "";
  while (text.length < length) {
    text = BASE62.charAt(Number(rest % 62n)) + text;
    rest /= 62n;
  }
  return text;
}

/** The usual CRC-32 (IEEE), of ASCII text. */
function crc32(text: string): number {
  let crc = 0xffffffff;
  for (let index = 0; index < text.length; index += 1) {
    crc ^= text.charCodeAt(index);
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
