/** The memory of the fake control plane: endpoints, jobs, leases and what is stored, with the real ones' rules. */
import { createHash, randomBytes } from "node:crypto";
import type {
  CompleteLease,
  FailLease,
  HeldReplica,
  Lease,
  LeaseProgress,
  ManifestEntry,
  ReleaseForAgent,
  ReplicaReport,
  VerificationReport,
} from "#contract/agent";
import { EndpointId, FileId, JobId, type LeaseId, leaseIdOf, makeId, NodeId, PodId, ReplicaId } from "#contract/ids";
import { DETERMINISTIC_ERRORS, type JobError } from "#contract/job";
import { ATTEMPTS_MAX, LEASE_CONFIRM_MS, LEASE_MS } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";

export interface NewFakeJob {
  readonly inputs?: Readonly<Record<string, unknown>>;
  /** Exact JSON text instead of `inputs`. */
  readonly inputsJson?: string;
  readonly files?: readonly { readonly input: string; readonly filename: string; readonly bytes: Uint8Array }[];
  readonly release?: number;
  readonly timeoutMs?: number;
}

export interface StoredOutput extends ManifestEntry {
  readonly bytes: Buffer;
  readonly parts: number;
}

export interface FakeJob {
  readonly id: JobId;
  readonly endpointId: EndpointId;
  readonly release: number;
  readonly inputs: string;
  readonly files: readonly { readonly input: string; readonly filename: string; readonly bytes: Buffer }[];
  readonly timeoutMs: number;
  state: "queued" | "running" | "succeeded" | "failed" | "canceled";
  attempts: number;
  outputs: StoredOutput[];
  /** Of every attempt that failed, oldest first. */
  readonly errors: JobError[];
  readonly givenBack: string[];
  readonly progress: LeaseProgress[];
  phases: CompleteLease["phases"];
}

interface Upload {
  readonly size: number;
  readonly sha256: string;
  readonly contentType: string;
  readonly parts: Map<number, Buffer>;
}

interface Stored {
  readonly bytes: Buffer;
  readonly sha256: string;
  readonly contentType: string;
  readonly parts: number;
}

export interface LiveLease {
  readonly lease: Lease;
  readonly job: FakeJob;
  readonly replicaId: ReplicaId;
  readonly pollId: string;
  ended: "completed" | "failed" | "released" | "canceled" | "lost" | null;
  confirmed: boolean;
  isUploading: boolean;
  timer: NodeJS.Timeout | null;
  next: Lease | null;
  readonly stored: Map<number, Stored>;
  readonly uploads: Map<string, Upload>;
}

export interface FakeReplica {
  readonly id: ReplicaId;
  readonly endpointId: EndpointId;
  readonly slot: number;
  action: "run" | "drain" | "gone";
  readonly reports: ReplicaReport[];
  /** The release that its next idle poll is to try; null: none. */
  errand: number | null;
  /** The poll that was last answered with one. */
  errandPoll: string | null;
  /** The errands that its polls say to be preparing. */
  readonly preparing: Set<string>;
  /** What it has said of its errands. */
  readonly verifications: VerificationReport[];
  /** Its errands are not waited for any more. */
  stopErrands: boolean;
  /** As the node's last poll said. */
  held: HeldReplica | null;
}

export interface FakeTimings {
  readonly leaseConfirmMs: number;
  readonly leaseMs: number;
}

/** What a test says of a release; the rest follows from it. */
export type ReleaseContents = Pick<ReleaseForAgent, "graph" | "inputs" | "outputs"> &
  Partial<Pick<ReleaseForAgent, "build" | "object_info" | "smoke_test">>;

/** The job that runs, and one ahead. */
const JOBS_AT_WORK_MAX = 2;
/** Those, and one before them whose outputs go up. */
const LEASES_PER_REPLICA_MAX = 3;
const random = (length: number) => randomBytes(length);

export class ControlPlaneState {
  readonly timings: FakeTimings;
  readonly releases = new Map<EndpointId, Omit<ReleaseForAgent, "release">[]>();
  /** The release that new replicas run, where it is not the newest. */
  readonly activeReleases = new Map<EndpointId, number>();
  readonly jobs = new Map<JobId, FakeJob>();
  readonly leases = new Map<LeaseId, LiveLease>();
  readonly replicas = new Map<ReplicaId, FakeReplica>();
  /** Every session that works, with its node. */
  readonly sessions = new Map<string, NodeId>();
  readonly podId = makeId(PodId, "pod", Date.now(), random);
  readonly #joined = new Map<string | undefined, NodeId>();
  #counter = 0;
  readonly #onChange: () => void;

  /** @param onChange called after whatever may let a waiting poll go on */
  constructor(timings: Partial<FakeTimings>, onChange: () => void) {
    this.timings = { leaseConfirmMs: LEASE_CONFIRM_MS, leaseMs: LEASE_MS, ...timings };
    this.#onChange = onChange;
  }

  /** The same join again is the same node. */
  join(joinId?: string): { nodeId: NodeId; session: string } {
    const nodeId = this.#joined.get(joinId) ?? makeId(NodeId, "node", Date.now(), random);
    if (joinId !== undefined) this.#joined.set(joinId, nodeId);
    const session = `pls_${randomBytes(24).toString("base64url")}`;
    this.sessions.set(session, nodeId);
    return { nodeId, session };
  }

  addEndpoint(release: ReleaseContents): EndpointId {
    const id = makeId(EndpointId, "ep", Date.now(), random);
    this.releases.set(id, []);
    this.addRelease(id, release);
    return id;
  }

  /** @returns its number */
  addRelease(id: EndpointId, release: ReleaseContents): number {
    const all = this.releases.get(id) ?? [];
    const nodes = Object.values(JSON.parse(release.graph) as Record<string, { class_type: string }>);
    const classes = [...new Set(nodes.map((node) => node.class_type))].sort();
    all.push({ ...release, endpoint_id: id, endpoint: "an-endpoint", classes });
    return all.length;
  }

  place(endpointId: EndpointId, slot: number): ReplicaId {
    const id = makeId(ReplicaId, "rep", Date.now(), random);
    this.replicas.set(id, {
      id,
      endpointId,
      slot,
      action: "run",
      reports: [],
      errand: null,
      errandPoll: null,
      preparing: new Set(),
      verifications: [],
      stopErrands: false,
      held: null,
    });
    this.#onChange();
    return id;
  }

  /** Its next idle poll is answered with this errand. */
  send(id: ReplicaId, release: number): void {
    const replica = this.replicas.get(id);
    if (replica === undefined) throw new Error("there is no such replica");
    replica.errand = release;
    this.#onChange();
  }

  want(id: ReplicaId, action: FakeReplica["action"]): void {
    const replica = this.replicas.get(id);
    if (replica !== undefined) replica.action = action;
    this.#onChange();
  }

  enqueue(endpointId: EndpointId, job: NewFakeJob): JobId {
    const id = makeId(JobId, "job", Date.now(), random);
    const files = (job.files ?? []).map((file) => ({ ...file, bytes: Buffer.from(file.bytes) }));
    const fileValues = Object.fromEntries(
      files.map((file) => [file.input, makeId(FileId, "file", Date.now(), random)]),
    );
    this.jobs.set(id, {
      id,
      endpointId,
      release: job.release ?? this.releases.get(endpointId)?.length ?? 1,
      inputs: job.inputsJson ?? JSON.stringify({ ...fileValues, ...job.inputs }),
      files,
      timeoutMs: job.timeoutMs ?? 600_000,
      state: "queued",
      attempts: 0,
      outputs: [],
      errors: [],
      givenBack: [],
      progress: [],
      phases: [],
    });
    this.#onChange();
    return id;
  }

  /** The lease for a poll: the one it already got, or a new one for the oldest job that waits. */
  grant(replicaId: ReplicaId, pollId: string): Lease | null {
    const replica = this.replicas.get(replicaId);
    const replayed = [...this.leases.values()].find((live) => live.pollId === pollId && live.ended === null);
    if (replayed !== undefined) return replayed.lease;
    const held = this.#held(replicaId);
    const atWork = held.filter((live) => !live.isUploading);
    if (held.length >= LEASES_PER_REPLICA_MAX || atWork.length >= JOBS_AT_WORK_MAX) return null;
    if (replica === undefined || replica.action !== "run" || replica.reports.at(-1)?.state === "draining") return null;
    const job = [...this.jobs.values()].find(
      (each) => each.endpointId === replica.endpointId && each.state === "queued",
    );
    if (job === undefined) return null;
    job.state = "running";
    job.attempts += 1;
    this.#counter += 1;
    const lease: Lease = {
      lease_id: leaseIdOf(job.id, job.attempts),
      token: `${this.#counter}.${randomBytes(12).toString("hex")}`,
      job_id: job.id,
      endpoint_id: job.endpointId,
      attempt: job.attempts,
      release: job.release,
      inputs: job.inputs,
      files: job.files.map((file, index) => ({
        index,
        input: file.input,
        file_id: FileId.parse((JSON.parse(job.inputs) as Record<string, string>)[file.input]),
        filename: file.filename,
        content_type: "application/octet-stream",
        size: file.bytes.byteLength,
        sha256: sha256(file.bytes),
      })),
      timeout_ms: job.timeoutMs,
      confirm_within_ms: this.timings.leaseConfirmMs,
      renew_within_ms: this.timings.leaseMs,
    };
    const live: LiveLease = {
      lease,
      job,
      replicaId,
      pollId,
      ended: null,
      confirmed: false,
      isUploading: false,
      timer: null,
      next: null,
      stored: new Map(),
      uploads: new Map(),
    };
    this.leases.set(lease.lease_id, live);
    this.#renew(live, this.timings.leaseConfirmMs);
    return lease;
  }

  /** Whether a replica has a lease. */
  holds(replicaId: ReplicaId): boolean {
    return this.#held(replicaId).length > 0;
  }

  #held(replicaId: ReplicaId): LiveLease[] {
    return [...this.leases.values()].filter((live) => live.replicaId === replicaId && live.ended === null);
  }

  /** Whether the server has ended the lease, and not its agent. */
  isRevoked(leaseId: LeaseId): boolean {
    const ended = this.leases.get(leaseId)?.ended;
    return ended === "canceled" || ended === "lost";
  }

  /** What a replica did not name is given back. */
  keepOnly(replicaId: ReplicaId, held: readonly LeaseId[], pollId: string): void {
    for (const live of this.leases.values()) {
      const isOther = live.replicaId === replicaId && live.ended === null && live.pollId !== pollId;
      if (isOther && !held.includes(live.lease.lease_id)) this.#loseLease(live);
    }
  }

  /** The live lease a message proves, or why not. */
  prove(leaseId: string, token: string | undefined): LiveLease | Refusal {
    const live = this.leases.get(leaseId as LeaseId);
    if (live === undefined) return refusal("not_found", "no such lease");
    if (live.lease.token !== token || live.ended === "lost" || live.ended === "released") {
      return refusal("lease_lost", "the lease is no longer held");
    }
    return live;
  }

  progress(live: LiveLease, message: LeaseProgress): { cancel: boolean; renew_within_ms: number } {
    if (live.ended !== null) return { cancel: true, renew_within_ms: 0 };
    live.confirmed = true;
    live.job.progress.push(message);
    this.#renew(live, this.timings.leaseMs);
    if (message.phase === "uploading" && !live.isUploading) {
      live.isUploading = true;
      // A poll that waits may get another job.
      this.#onChange();
    }
    return { cancel: false, renew_within_ms: this.timings.leaseMs };
  }

  store(live: LiveLease, index: number, output: Stored): Refusal | null {
    if (sha256(output.bytes) !== output.sha256) return refusal("checksum_mismatch", `output ${index}`);
    const before = live.stored.get(index);
    if (before !== undefined && before.sha256 !== output.sha256) return refusal("output_conflict", `output ${index}`);
    live.stored.set(index, output);
    this.#renew(live, this.timings.leaseMs);
    return null;
  }

  complete(live: LiveLease, message: CompleteLease): { next: Lease | null } | Refusal {
    if (live.ended === "completed") return { next: live.next };
    if (live.ended !== null) return refusal("lease_lost", "the job is over");
    const outputs: StoredOutput[] = [];
    for (const entry of message.outputs) {
      const stored = live.stored.get(entry.index);
      if (stored?.sha256 !== entry.sha256 || stored.bytes.byteLength !== entry.size) {
        return refusal("output_missing", `output ${entry.index}`);
      }
      outputs.push({ ...entry, bytes: stored.bytes, parts: stored.parts });
    }
    live.job.outputs = outputs;
    live.job.phases = message.phases;
    live.job.state = "succeeded";
    this.#end(live, "completed");
    if (message.next_poll_id !== undefined) live.next = this.grant(live.replicaId, message.next_poll_id);
    this.#onChange();
    return { next: live.next };
  }

  fail(live: LiveLease, message: FailLease): object | Refusal {
    if (live.ended === "failed") return {};
    if (live.ended !== null) return refusal("lease_lost", "the job is over");
    const { job } = live;
    job.errors.push(message.error);
    job.phases = message.phases;
    const isFinal = DETERMINISTIC_ERRORS.includes(message.error.code) || job.attempts >= ATTEMPTS_MAX;
    job.state = isFinal ? "failed" : "queued";
    this.#end(live, "failed");
    this.#onChange();
    return {};
  }

  release(live: LiveLease, reason: string): object | Refusal {
    if (live.ended !== null) return refusal("lease_lost", "the job is over");
    live.job.givenBack.push(reason);
    live.job.attempts -= 1;
    live.job.state = "queued";
    this.#end(live, "released");
    this.#onChange();
    return {};
  }

  cancel(jobId: JobId): void {
    const job = this.jobs.get(jobId);
    if (job === undefined) return;
    job.state = "canceled";
    for (const live of this.leases.values()) if (live.job === job && live.ended === null) this.#end(live, "canceled");
    this.#onChange();
  }

  /** Takes the lease of a running job away, as when its renewals did not arrive. */
  loseLeaseOf(jobId: JobId): void {
    for (const live of this.leases.values()) if (live.job.id === jobId && live.ended === null) this.#loseLease(live);
  }

  clearTimers(): void {
    for (const live of this.leases.values()) if (live.timer !== null) clearTimeout(live.timer);
  }

  #loseLease(live: LiveLease): void {
    live.job.state = live.job.attempts >= ATTEMPTS_MAX ? "failed" : "queued";
    this.#end(live, "lost");
    this.#onChange();
  }

  #end(live: LiveLease, how: NonNullable<LiveLease["ended"]>): void {
    live.ended = how;
    if (live.timer !== null) clearTimeout(live.timer);
  }

  #renew(live: LiveLease, ms: number): void {
    if (live.ended !== null) return;
    if (live.timer !== null) clearTimeout(live.timer);
    live.timer = setTimeout(() => this.#loseLease(live), ms);
    live.timer.unref();
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function isRefusal(value: object): value is Refusal {
  return "ok" in value && value.ok === false;
}
