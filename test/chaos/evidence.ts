/** What a chaos run leaves for its checker: what callers, receivers and operators can see from outside, nothing more. */
import type { Job, JobState } from "#contract/job";
import type { UsageRow } from "#contract/usage";
import type { PlannedJob } from "./workload.ts";

/** One job as it was asked for, and everything that the public API says of it when all is over. */
export interface JobEvidence {
  readonly plan: PlannedJob;
  /** Ids of every 202 or 200 that a submit of it got, in order. */
  readonly acknowledged: readonly string[];
  /** The state that the answer of its cancel showed; null when none was sent or answered. */
  readonly cancelAnswer: JobState | null;
  /** `GET /v1/jobs/{id}`; null for a 404. */
  readonly record: Pick<Job, "id" | "state" | "attempt" | "outputs" | "error"> | null;
  readonly events: readonly SeenEvent[];
  /** The outputs, downloaded whole. */
  readonly downloads: readonly Download[];
  /** What a succeeded job must have: output → sha256. */
  readonly expected: Readonly<Record<string, string>>;
}

export interface SeenEvent {
  readonly seq: number;
  readonly type: string;
  /** By the server's clock; null for the last one, which holds the whole job instead. */
  readonly at: string | null;
  /** Only in `started`. */
  readonly replicaId: string | null;
}

export interface Download {
  readonly output: string;
  readonly name: string;
  readonly sha256: string;
}

/** An object of the bucket, by its key: `out/d<days>/<workspace>/<job>/<token>/<index>`. */
export interface StoredObject {
  readonly key: string;
  readonly sha256: string | null;
}

/** One webhook message as it arrived, whether or not the receiver took it. */
export interface ReceivedMessage {
  /** The path it was sent to. */
  readonly path: string;
  readonly id: string;
  readonly timestamp: string;
  readonly signature: string;
  readonly body: string;
  /** What the receiver answered; null when it cut the connection. */
  readonly status: number | null;
}

/** Where the messages of one destination go and with what they are signed. */
export interface Destination {
  readonly path: string;
  /** Jobs it must have heard of, by index; null for all. */
  readonly jobs: readonly number[] | null;
  readonly secret: string;
}

/** A success that was reported after its lease was over. */
export interface LateComplete {
  readonly leaseId: string;
  /** HTTP status of the answer; null when none came. */
  readonly status: number | null;
}

export interface LogText {
  readonly name: string;
  readonly text: string;
}

export interface Evidence {
  readonly jobs: readonly JobEvidence[];
  /** Ids of all jobs that the API lists. */
  readonly listed: readonly string[];
  readonly stored: readonly StoredObject[];
  readonly messages: readonly ReceivedMessage[];
  readonly destinations: readonly Destination[];
  /** The published Ed25519 key, 32 bytes in base64. */
  readonly publicKey: string;
  readonly usage: readonly UsageRow[];
  readonly lateCompletes: readonly LateComplete[];
  /** Statuses of every answer that a submit got, with how often. */
  readonly submitStatuses: Readonly<Record<number, number>>;
  /** Submits that got a final refusal, in words. */
  readonly refused: readonly string[];
  readonly logs: readonly LogText[];
  /** Texts that must be in no log: keys, tokens, secrets, and the mark of every prompt. */
  readonly secrets: readonly string[];
}
