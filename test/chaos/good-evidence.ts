/** Evidence of a small run that kept every promise; tests of the checker spoil it, one thing at a time. */
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { type AnyId, EndpointId, JobId, KeyId, LeaseId, makeId, NodeId, OwnerKey, ReplicaId } from "#contract/ids";
import type { UsageRow } from "#contract/usage";
import type { Evidence, JobEvidence, ReceivedMessage } from "./evidence.ts";
import type { JobKind, PlannedJob } from "./workload.ts";

type Mutable<T> = T extends readonly (infer Item)[]
  ? Mutable<Item>[]
  : T extends string | number | boolean | null
    ? T
    : { -readonly [Key in keyof T]: Mutable<T[Key]> };
export type Spoilable = Mutable<Evidence>;

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const OWNER = OwnerKey.parse("0f0f0f0f");
const STARTED_MS = Date.UTC(2026, 0, 2);
const WORKSPACE_SECRET = `whsec_${randomBytes(24).toString("base64")}`;
const JOB_SECRET = `whsec_${randomBytes(24).toString("base64")}`;
const KINDS: readonly JobKind[] = ["quick", "slow", "failing", "canceled"];

const id = <Id extends AnyId>(schema: { parse(value: unknown): Id }, prefix: string, number: number): Id =>
  makeId(schema, prefix, STARTED_MS + number, (length) => randomBytes(length), OWNER);
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Signs as Standard Webhooks say. */
export function signed(message: Omit<ReceivedMessage, "signature">, secret: string): ReceivedMessage {
  const content = Buffer.from(`${message.id}.${message.timestamp}.${message.body}`);
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const v1 = createHmac("sha256", key).update(content).digest("base64");
  const v1a = sign(null, content, privateKey).toString("base64");
  return { ...message, signature: `v1,${v1} v1a,${v1a}` };
}

/** A fresh copy each time. The second job was run twice: its first agent died. */
export function goodEvidence(): Spoilable {
  const jobs = KINDS.map((kind, index) => jobOf(kind, index));
  const usage = jobs.flatMap((job, index) => usageOf(job, index));
  const evidence: Evidence = {
    jobs,
    listed: jobs.map(({ acknowledged }) => acknowledged[0] ?? ""),
    stored: jobs.flatMap(({ record, plan, expected }) =>
      record?.state !== "succeeded"
        ? []
        : [
            // What the dead agent had sent is litter under the older token.
            ...(plan.kind === "slow" ? [object(record.id, 3, 0, expected.image ?? "")] : []),
            object(record.id, 7, 0, expected.image ?? ""),
            object(record.id, 7, 1, expected.text ?? ""),
          ],
    ),
    messages: jobs.flatMap((job) => messagesOf(job)),
    destinations: [
      { path: "/workspace", jobs: null, secret: WORKSPACE_SECRET },
      { path: "/jobs", jobs: [1], secret: JOB_SECRET },
    ],
    publicKey: publicKey.export({ format: "der", type: "spki" }).subarray(-32).toString("base64"),
    usage,
    lateCompletes: [{ leaseId: usage[1]?.lease_id ?? "", status: 409 }],
    submitStatuses: { 202: 5, 503: 2 },
    refused: [],
    logs: [{ name: "server.log", text: '{"event":"ready"}\n' }],
    secrets: ["pl_a-secret-key"],
  };
  return structuredClone(evidence) as Spoilable;
}

function object(jobId: string, counter: number, index: number, hash: string) {
  return { key: `out/d7/ws_1/${jobId}/${counter}.00ff00ff00ff00ff00ff00ff/${index}`, sha256: hash };
}

function jobOf(kind: JobKind, index: number): JobEvidence {
  const plan: PlannedJob = {
    index,
    kind,
    lane: "interactive",
    priority: 5,
    idempotencyKey: `key-${index}`,
    repeats: index === 0 ? 1 : 0,
    hasWebhook: index === 1,
    color: index,
    prompt: "",
    photo: null,
    cancelAfterMs: 0,
  };
  const jobId = id(JobId, "job", index);
  const state = kind === "failing" ? "failed" : kind === "canceled" ? "canceled" : "succeeded";
  const expected = { image: sha256(`picture ${index}`), text: sha256(`text ${index}`) };
  const output = (name: "image" | "text", file: string) => ({
    ...{ name: file, output: name, kind: name, filename: file, content_type: "image/png", size: 1 },
    ...{ sha256: expected[name], url: "" },
  });
  const outputs = state === "succeeded" ? [output("image", "image.png"), output("text", "text.txt")] : [];
  const replicas = kind === "slow" ? [id(ReplicaId, "rep", 1), id(ReplicaId, "rep", 2)] : [id(ReplicaId, "rep", 1)];
  const types = [
    "queued",
    ...replicas.flatMap((_, turn) => (turn === 0 ? ["started"] : ["retrying", "started"])),
    state,
  ];
  let turn = -1;
  return {
    plan,
    acknowledged: index === 0 ? [jobId, jobId] : [jobId],
    cancelAnswer: kind === "canceled" ? "canceled" : null,
    record: {
      id: jobId,
      state,
      attempt: replicas.length,
      outputs,
      error: state === "failed" ? { code: "execution_error", message: "" } : null,
    },
    events: types.map((type, at) => {
      if (type === "started") turn += 1;
      return { seq: at + 1, type, at: null, replicaId: type === "started" ? (replicas[turn] ?? null) : null };
    }),
    downloads: outputs.map(({ name, output: of, sha256: hash }) => ({ output: of, name, sha256: hash })),
    expected,
  };
}

/** One row for each lease, one after the other. */
function usageOf({ record, plan, events }: JobEvidence, index: number): UsageRow[] {
  if (record === null) return [];
  const starts = events.filter(({ type }) => type === "started");
  return starts.map(({ replicaId }, turn) => {
    const isLast = turn === starts.length - 1;
    const ended = record.state === "succeeded" ? "completed" : record.state === "failed" ? "failed" : "canceled";
    const startedMs = STARTED_MS + index * 10_000 + turn * 2_000;
    return {
      lease_id: LeaseId.parse(`lse_${record.id.slice("job_".length)}-${turn + 1}`),
      job_id: record.id,
      endpoint_id: id(EndpointId, "ep", 0),
      key_id: id(KeyId, "key", 0),
      release: 1,
      lane: plan.lane,
      tags: [],
      attempt: turn + 1,
      replica_id: ReplicaId.parse(replicaId),
      node_id: id(NodeId, "node", 0),
      started_at: new Date(startedMs).toISOString(),
      ended_at: new Date(startedMs + 1_000).toISOString(),
      ms: 1_000,
      outcome: isLast ? ended : "lost",
    };
  });
}

function messagesOf({ record, plan }: JobEvidence): ReceivedMessage[] {
  if (record === null) return [];
  const message = {
    id: `msg_${record.id.slice(4)}_9`,
    timestamp: "1767312000",
    body: JSON.stringify({ type: `job.${record.state}`, data: { id: record.id, state: record.state } }),
    status: 204,
  };
  return [
    signed({ ...message, path: "/workspace" }, WORKSPACE_SECRET),
    ...(plan.hasWebhook
      ? // The first try met a receiver that was away; the second has another time in it, and the same id.
        [
          signed({ ...message, path: "/jobs", status: null }, JOB_SECRET),
          signed({ ...message, path: "/jobs", timestamp: "1767312005" }, JOB_SECRET),
        ]
      : []),
  ];
}
