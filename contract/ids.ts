/**
 * Names of things. Every id is a prefix and 26 lower-case base-32 characters (Crockford's alphabet):
 *
 *   9 characters  milliseconds since 1970, so that ids sort by age
 *   8 characters  the owner's key: which object keeps the thing, so that finding it needs no index
 *   9 characters  chance
 *
 * A thing below an endpoint (job, lease, replica) carries the endpoint's key; a node carries its pod's. An endpoint's
 * and a pod's own key are 8 characters of chance. Ids are names, not secrets: every lookup also checks the workspace.
 */
import * as z from "zod";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const TIME_LENGTH = 9;
const KEY_LENGTH = 8;
const CHANCE_LENGTH = 9;

const id = <const Prefix extends string, const Brand extends string>(prefix: Prefix, brand: Brand) =>
  z
    .string()
    .regex(new RegExp(`^${prefix}_[0-9a-hjkmnp-tv-z]{26}$`), `an id of the form ${prefix}_ and 26 characters`)
    .brand<Brand>()
    .meta({ title: brand, examples: [`${prefix}_0dpx4n3m8k7q2wz6tgr1vyc5ha`] });

export const WorkspaceId = id("ws", "WorkspaceId");
export const KeyId = id("key", "KeyId");
export const EndpointId = id("ep", "EndpointId");
export const JobId = id("job", "JobId");
/**
 * A lease is named after its job: the job's 26 characters, a hyphen and its number among the job's leases, from 1. So a
 * message that names a lease leads to its job's row, and leases need neither a table nor an index of their own.
 */
export const LeaseId = z
  .string()
  .regex(/^lse_[0-9a-hjkmnp-tv-z]{26}-[1-9][0-9]{0,3}$/, "an id of the form lse_, 26 characters, a hyphen and a number")
  .brand<"LeaseId">()
  .meta({ title: "LeaseId", examples: ["lse_0dpx4n3m8k7q2wz6tgr1vyc5ha-1"] });
export const ReplicaId = id("rep", "ReplicaId");
export const PodId = id("pod", "PodId");
export const NodeId = id("node", "NodeId");
export const JoinTokenId = id("jt", "JoinTokenId");
export const FileId = id("file", "FileId");
export const BatchId = id("batch", "BatchId");
export const OperationId = id("op", "OperationId");
export const WebhookId = id("wh", "WebhookId");
export const DeliveryId = id("dlv", "DeliveryId");
export const ModelId = id("mdl", "ModelId");
export type WorkspaceId = z.infer<typeof WorkspaceId>;
export type KeyId = z.infer<typeof KeyId>;
export type EndpointId = z.infer<typeof EndpointId>;
export type JobId = z.infer<typeof JobId>;
export type LeaseId = z.infer<typeof LeaseId>;
export type ReplicaId = z.infer<typeof ReplicaId>;
export type PodId = z.infer<typeof PodId>;
export type NodeId = z.infer<typeof NodeId>;
export type JoinTokenId = z.infer<typeof JoinTokenId>;
export type FileId = z.infer<typeof FileId>;
export type BatchId = z.infer<typeof BatchId>;
export type OperationId = z.infer<typeof OperationId>;
export type WebhookId = z.infer<typeof WebhookId>;
export type DeliveryId = z.infer<typeof DeliveryId>;
export type ModelId = z.infer<typeof ModelId>;

/** 8 characters that name the object (EndpointObject, PodObject) keeping a thing. */
export const OwnerKey = z
  .string()
  .regex(/^[0-9a-hjkmnp-tv-z]{8}$/)
  .brand<"OwnerKey">();
export type OwnerKey = z.infer<typeof OwnerKey>;

export type AnyId =
  | WorkspaceId
  | KeyId
  | EndpointId
  | JobId
  | LeaseId
  | ReplicaId
  | PodId
  | NodeId
  | JoinTokenId
  | FileId
  | BatchId
  | OperationId
  | WebhookId
  | DeliveryId
  | ModelId;

/** Fills a buffer with chance; `crypto.getRandomValues` outside tests. */
export type RandomBytes = (length: number) => Uint8Array;

function chance(length: number, randomBytes: RandomBytes): string {
  let text = "";
  // 32 divides 256, so the low five bits of a byte are uniform.
  for (const byte of randomBytes(length)) text += ALPHABET[byte & 31];
  return text;
}

function timePart(atMs: number): string {
  let rest = Math.floor(atMs);
  let text = "";
  for (let position = 0; position < TIME_LENGTH; position += 1) {
    text = ALPHABET[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

/**
 * Makes an id.
 * @param schema the kind, for its type; `prefix` must be that kind's
 * @param owner the key of the object that keeps the thing; left out, the id gets a key of its own
 * @param atMs Unix ms
 */
export function makeId<Id extends AnyId>(
  schema: { parse(value: unknown): Id },
  prefix: string,
  atMs: number,
  randomBytes: RandomBytes,
  owner?: OwnerKey,
): Id {
  const key = owner ?? chance(KEY_LENGTH, randomBytes);
  return schema.parse(`${prefix}_${timePart(atMs)}${key}${chance(CHANCE_LENGTH, randomBytes)}`);
}

/** The key inside an id: of the thing itself (endpoint, pod) or of the object that keeps it. */
export function ownerKey(anyId: AnyId): OwnerKey {
  const body = anyId.slice(anyId.indexOf("_") + 1);
  return body.slice(TIME_LENGTH, TIME_LENGTH + KEY_LENGTH) as OwnerKey;
}

/** Sorts before every id of that kind made at `atMs` or later, and after every earlier one. */
export function leastIdAt(prefix: string, atMs: number): string {
  return `${prefix}_${timePart(atMs)}`;
}

/** The id of a job's lease. @param number which of the job's leases, from 1 */
export function leaseIdOf(jobId: JobId, number: number): LeaseId {
  return `lse_${jobId.slice(4)}-${number}` as LeaseId;
}

/** The job that a lease is of. */
export function jobIdOf(leaseId: LeaseId): JobId {
  return `job_${leaseId.slice(4, leaseId.indexOf("-"))}` as JobId;
}

/** Which of its job's leases it is, from 1. */
export function leaseNumber(leaseId: LeaseId): number {
  return Number(leaseId.slice(leaseId.indexOf("-") + 1));
}
