/**
 * What the GPU agent and the Worker say to each other, under /agent/v1. The agent always calls; nothing calls it.
 *
 * Polls (`nodes/{node}/poll`, `replicas/{replica}/poll`) answer 200 at once, then a newline every POLL_HEARTBEAT_MS,
 * then one line of JSON. Everything may arrive twice: a repeated message gets the same answer.
 */
import * as z from "zod";
import { BuildManifest, SmokeTest } from "#contract/build";
import { EndpointId, FileId, JobId, LeaseId, NodeId, PodId, ReplicaId } from "#contract/ids";
import { JobError, JobProgress, RunningPhase, Sha256 } from "#contract/job";
import {
  LOG_LINE_LENGTH_MAX,
  LOG_LINES_PER_REPORT_MAX,
  OUTPUTS_PER_JOB_MAX,
  SLOTS_PER_NODE_MAX,
} from "#contract/limits";
import { Region } from "#contract/region";
import { Gpu, NodeInventory, NodeMetrics, ReplicaState } from "#contract/replica";
import { InputSpec, OutputKind, OutputSpec } from "#contract/workflow";

/** Raised when old agents can no longer work with new servers; an older one is told 426. */
export const AGENT_PROTOCOL = 1;
/** Header of every /agent/v1 request. */
export const PROTOCOL_HEADER = "pilotlight-protocol";
/** Header that carries a lease's token: `<counter>.<24 hexadecimal digits>`. */
export const LEASE_TOKEN_HEADER = "pilotlight-lease-token";
/** Header that carries the sha256 of an uploaded output or part. */
export const SHA256_HEADER = "pilotlight-sha256";

export const LeaseToken = z.string().regex(/^[1-9][0-9]{0,15}\.[0-9a-f]{24}$/);
/** Chosen by the agent for each poll; the same id again gets the same lease again. */
export const PollId = z.string().regex(/^[A-Za-z0-9_-]{8,64}$/);

// --- nodes ---------------------------------------------------------------------------------------------------------

export const JoinNode = z.strictObject({
  /**
   * Drawn by the machine, which keeps it until it has joined: a join of which the answer got lost is sent again under the
   * same one, makes no second node, and counts once against the token.
   */
  join_id: PollId.optional(),
  name: z.string().min(1).max(200),
  agent_version: z.string().max(100),
  comfyui: z.string().max(200),
  gpus: z.array(Gpu).max(SLOTS_PER_NODE_MAX),
  slots: z.int().min(1).max(SLOTS_PER_NODE_MAX),
  /** Where the machine is, as its owner calls it. */
  region: Region.optional(),
  slots_per_gpu: z.int().min(1).max(SLOTS_PER_NODE_MAX).optional(),
  inventory: NodeInventory.optional(),
});
export type JoinNode = z.infer<typeof JoinNode>;

/** The session authenticates every later request of this node: `Authorization: Bearer <session>`. */
export const JoinedNode = z.object({ node_id: NodeId, pod_id: PodId, session: z.string() });
export type JoinedNode = z.infer<typeof JoinedNode>;

/** A replica as the node has it. */
export const HeldReplica = z.strictObject({
  replica_id: ReplicaId,
  slot: z.int().nonnegative(),
  state: ReplicaState,
  error: z.string().max(4_000).optional(),
  /** Grows as its start goes on (bytes came, a step began, a line was written): a start without it is given up sooner. */
  progress: z.int().nonnegative().optional(),
});
export type HeldReplica = z.infer<typeof HeldReplica>;

/**
 * Which of a node's polls is the later one, in whatever order they arrive: the one with the higher `start`, and of the
 * same start the one with the higher `seq`.
 */
export const PollOrder = z.strictObject({
  /** Grows with each start of the agent; the agent keeps it on its disk. */
  start: z.int().nonnegative(),
  /** Grows with each poll since that start. */
  seq: z.int().nonnegative(),
});
export type PollOrder = z.infer<typeof PollOrder>;

/** The node's heartbeat: what it is and what it runs. Answered at once when what it should run differs. */
export const NodePoll = z.strictObject({
  poll_id: PollId,
  order: PollOrder.optional(),
  /** As its owner calls it now, and the agent that speaks; left out: as when it joined. */
  name: z.string().min(1).max(200).optional(),
  agent_version: z.string().max(100).optional(),
  comfyui: z.string().max(200),
  gpus: z.array(Gpu).max(SLOTS_PER_NODE_MAX),
  slots: z.int().min(1).max(SLOTS_PER_NODE_MAX),
  region: Region.optional(),
  slots_per_gpu: z.int().min(1).max(SLOTS_PER_NODE_MAX).optional(),
  /** Sent when it has changed, and when the last answer asked for it. */
  inventory: NodeInventory.optional(),
  /** The node is shutting down: give it nothing new. */
  draining: z.boolean(),
  replicas: z.array(HeldReplica).max(SLOTS_PER_NODE_MAX * 2),
  /** Longest useful wait, ms; 0 asks for an answer at once. */
  wait_ms: z.int().min(0).max(60_000),
});
export type NodePoll = z.infer<typeof NodePoll>;

/** A replica the node should have. Those it runs and that are not listed, it stops (after their job). */
export const WantedReplica = z.object({
  replica_id: ReplicaId,
  slot: z.int().nonnegative(),
  endpoint_id: EndpointId,
  /** `drain`: finish the job in hand, take no other, stop. */
  action: z.enum(["run", "drain"]),
});
export type WantedReplica = z.infer<typeof WantedReplica>;

export const NodePollAnswer = z.object({
  replicas: z.array(WantedReplica),
  /** A fresh session when the old one nears its end. */
  session: z.string().optional(),
  /** The pod does not know what the node has: send the inventory with the next poll. */
  send_inventory: z.boolean().optional(),
  /** Send figures at this pace, ms. */
  metrics_every_ms: z.int().positive().optional(),
});

/** `POST nodes/{node}/metrics`: the answer says when the next figures are due. */
export const NodeMetricsReport = z.strictObject({ metrics: NodeMetrics }).superRefine(({ metrics }, context) => {
  const refuse = (path: (string | number)[], message: string) =>
    context.addIssue({ code: "custom", path: ["metrics", ...path], message });
  const within = (part: number | null, whole: number | null, path: (string | number)[], of: string) => {
    if (part !== null && whole !== null && part > whole) refuse(path, `more than ${of}`);
  };
  const { gpus, memory_used_mb, memory_total_mb, disk_free_mb, disk_total_mb } = metrics;
  for (const [at, { index, vram_used_mb, vram_total_mb }] of gpus.entries()) {
    within(vram_used_mb, vram_total_mb, ["gpus", at, "vram_used_mb"], "vram_total_mb");
    if (gpus.findIndex((gpu) => gpu.index === index) !== at) refuse(["gpus", at, "index"], "the same card twice");
  }
  within(memory_used_mb, memory_total_mb, ["memory_used_mb"], "memory_total_mb");
  within(disk_free_mb, disk_total_mb, ["disk_free_mb"], "disk_total_mb");
});
export type NodeMetricsReport = z.infer<typeof NodeMetricsReport>;
export const NodeMetricsAnswer = z.object({ next_in_ms: z.int().positive() });
export type NodeMetricsAnswer = z.infer<typeof NodeMetricsAnswer>;

export type NodePollAnswer = z.infer<typeof NodePollAnswer>;

// --- replicas ------------------------------------------------------------------------------------------------------

/** A build, and the digest it has. */
export const ReleaseBuild = z.object({ digest: Sha256, manifest: BuildManifest });
export type ReleaseBuild = z.infer<typeof ReleaseBuild>;

/** What a replica runs; fetched once per release number. `graph` is exact JSON text. */
export const ReleaseForAgent = z.object({
  endpoint_id: EndpointId,
  endpoint: z.string(),
  release: z.int().positive(),
  graph: z.string(),
  inputs: z.array(InputSpec),
  outputs: z.array(OutputSpec),
  classes: z.array(z.string()),
  /** What the release needs on a machine that makes builds; null or left out: it runs on what its machine's owner installed. */
  build: ReleaseBuild.nullish(),
  /** What /object_info said of the classes when the release was made, exact JSON text: compared after each boot. */
  object_info: z.string().nullish(),
  /** Run after each boot: only then is the replica ready. */
  smoke_test: SmokeTest.nullish(),
});
export type ReleaseForAgent = z.infer<typeof ReleaseForAgent>;

/** Tells the endpoint how a replica stands; phases are durations measured by the agent's monotonic clock. */
export const ReplicaReport = z.strictObject({
  state: ReplicaState,
  error: z.string().max(4_000).optional(),
  phases: z.array(z.strictObject({ phase: z.string().max(40), ms: z.int().nonnegative() })).max(20),
  /** The release that has run on this machine since the replica's start: it is proven on its type of card. */
  proven: z.int().positive().optional(),
  /** The build its ComfyUI is of, by digest; null: it runs what its machine's owner installed. Left out while it has none. */
  build: Sha256.nullish(),
  /** What it is at right now, in words a person reads: `3.1 of 6.9 GB of model.safetensors`. */
  doing: z.string().max(300).optional(),
  /** Lines of its preparation and of ComfyUI's start since the last report, secrets taken out. */
  log: z.array(z.string().max(LOG_LINE_LENGTH_MAX)).max(LOG_LINES_PER_REPORT_MAX).optional(),
  /** The number of the first line of `log`; the first of all has 0. Lines that come twice are known by it. */
  log_from: z.int().nonnegative().optional(),
});
export type ReplicaReport = z.infer<typeof ReplicaReport>;
export const ReplicaReportAnswer = z.object({
  release: z.int().positive(),
  stop: z.boolean(),
  /** The number of the line that the endpoint wants next: what it has forgotten is sent again. */
  log_next: z.int().nonnegative().optional(),
});
export type ReplicaReportAnswer = z.infer<typeof ReplicaReportAnswer>;

export const HeldLease = z.strictObject({ lease_id: LeaseId, token: LeaseToken });

/** "I am ready": asks for a lease. */
export const ReplicaPoll = z.strictObject({
  poll_id: PollId,
  /** Leases the replica still works on; all others of it are given back to the queue. */
  leases: z.array(HeldLease).max(4),
  /** It can try a release beside its work: an answer may have an errand. */
  verifies: z.boolean().optional(),
  /** The errand, by its poll, whose build it makes beside its work: it keeps it, and takes jobs until the build is there. */
  preparing: PollId.optional(),
  wait_ms: z.int().min(0).max(60_000),
});
export type ReplicaPoll = z.infer<typeof ReplicaPoll>;

/** A file input: `GET /agent/v1/leases/{lease}/inputs/{index}` streams it. */
export const LeaseFile = z.object({
  index: z.int().nonnegative(),
  input: z.string(),
  file_id: FileId,
  filename: z.string(),
  content_type: z.string(),
  size: z.int().nonnegative(),
  sha256: Sha256,
});
export type LeaseFile = z.infer<typeof LeaseFile>;

export const Lease = z.object({
  lease_id: LeaseId,
  token: LeaseToken,
  job_id: JobId,
  endpoint_id: EndpointId,
  attempt: z.int().positive(),
  release: z.int().positive(),
  /** Exact JSON text of `{name: value}`; a file input's value is its file id. */
  inputs: z.string(),
  files: z.array(LeaseFile),
  /** Execution may take this long, ms. */
  timeout_ms: z.int().positive(),
  /** The first message must arrive within this, ms; every later one within `renew_within_ms` of the last. */
  confirm_within_ms: z.int().positive(),
  renew_within_ms: z.int().positive(),
});
export type Lease = z.infer<typeof Lease>;

export const ReplicaPollAnswer = z.object({
  lease: Lease.nullable(),
  /** Leases named in the poll that are over (canceled, expired, taken): stop their prompts. */
  ended: z.array(LeaseId),
  /** Stop this replica: it is no longer wanted. */
  stop: z.boolean(),
  /** An errand, known by the poll's id: try this release, say what came of it, then ask for work again. */
  verify: z.object({ release: z.int().positive() }).nullish(),
});
export type ReplicaPollAnswer = z.infer<typeof ReplicaPollAnswer>;

/**
 * How an errand goes: sent when something is new, and as a sign of life. A repeated one changes nothing.
 * `POST replicas/{replica}/verifications`
 */
export const VerificationReport = z.strictObject({
  /** The id of the poll that was answered with it. */
  errand: PollId,
  release: z.int().positive(),
  state: z.enum(["building", "verifying", "ready", "failed"]),
  error: z.string().max(4_000).optional(),
  /** With `failed`: the same would come of it again. Left out: the machine had trouble of its own. */
  final: z.boolean().optional(),
  /** Lines since the last report, secrets taken out. */
  log: z.array(z.string().max(LOG_LINE_LENGTH_MAX)).max(LOG_LINES_PER_REPORT_MAX).optional(),
  /** The number of the first line of `log`; the first of an errand has 0. */
  log_from: z.int().nonnegative().optional(),
});
export type VerificationReport = z.infer<typeof VerificationReport>;
/** `stop` true: nobody waits for it any more. `log_next`: the number of the line that is wanted next. */
export const VerificationReportAnswer = z.object({ stop: z.boolean(), log_next: z.int().nonnegative() });
export type VerificationReportAnswer = z.infer<typeof VerificationReportAnswer>;

// --- leases --------------------------------------------------------------------------------------------------------

/** Progress and heartbeat in one; renews the lease. */
export const LeaseProgress = z.strictObject({
  phase: RunningPhase,
  progress: JobProgress.optional(),
  /** Small JPEG or PNG in base64: relayed to watchers, never stored. */
  preview: z
    .strictObject({ content_type: z.enum(["image/jpeg", "image/png", "image/webp"]), data: z.string().max(400_000) })
    .optional(),
});
export type LeaseProgress = z.infer<typeof LeaseProgress>;
/** `cancel` true: the job is over; interrupt exactly this prompt and send nothing more. */
export const LeaseProgressAnswer = z.object({ cancel: z.boolean(), renew_within_ms: z.int().nonnegative() });
export type LeaseProgressAnswer = z.infer<typeof LeaseProgressAnswer>;

/** One stored output, as the agent names it; the server checks each against R2. */
export const ManifestEntry = z.strictObject({
  index: z
    .int()
    .nonnegative()
    .max(OUTPUTS_PER_JOB_MAX - 1),
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/),
  output: z.string().max(64),
  kind: OutputKind,
  filename: z.string().min(1).max(255),
  content_type: z.string().max(200),
  size: z.int().nonnegative(),
  sha256: Sha256,
  text: z.string().max(8_192).optional(),
});
export type ManifestEntry = z.infer<typeof ManifestEntry>;

/** How long the agent spent in each phase, ms, by its own monotonic clock: shown, never used to decide. */
export const PhaseTimes = z.array(z.strictObject({ phase: z.string().max(40), ms: z.int().nonnegative() })).max(20);

export const CompleteLease = z.strictObject({
  outputs: z.array(ManifestEntry).max(OUTPUTS_PER_JOB_MAX),
  phases: PhaseTimes,
  /** With it, the answer carries the next lease if one waits: saves a round trip between two jobs. */
  next_poll_id: PollId.optional(),
  /**
   * Over the replica's socket: when no job waits, `next_poll_id` goes on as a poll that lists no leases, for so long, ms.
   * Saves the message between two jobs. Over HTTP it means nothing.
   */
  next_wait_ms: z.int().min(0).max(60_000).optional(),
  /** Over the socket: outputs that came ahead are waited for so long, ms; then the answer is `output_pending`. */
  outputs_wait_ms: z.int().min(0).max(60_000).optional(),
});
export type CompleteLease = z.infer<typeof CompleteLease>;
/** `waits` true: the next poll is open; its answer comes by itself. */
export const CompleteLeaseAnswer = z.object({ next: Lease.nullable(), waits: z.boolean().optional() });
export type CompleteLeaseAnswer = z.infer<typeof CompleteLeaseAnswer>;

export const FailLease = z.strictObject({ error: JobError, phases: PhaseTimes });
export type FailLease = z.infer<typeof FailLease>;
/** Given back unfinished (the agent shuts down, ComfyUI died before it began): costs the job no attempt. */
export const ReleaseLease = z.strictObject({ reason: z.string().max(1_000) });
export type ReleaseLease = z.infer<typeof ReleaseLease>;

/** An output above FILE_BYTES_MAX goes up in parts of OUTPUT_PART_BYTES (the last may be smaller). */
export const NewMultipart = z.strictObject({
  size: z.int().positive(),
  sha256: Sha256,
  content_type: z.string().max(200),
});
export const StartedMultipart = z.object({ upload_id: z.string() });
export const UploadedPart = z.object({ part: z.int().positive(), etag: z.string() });
export const CompleteMultipart = z.strictObject({
  upload_id: z.string(),
  parts: z.array(UploadedPart).min(1).max(10_000),
});
