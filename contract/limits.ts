/** Every bound the system puts on what others send or make it do, each with its reason. */

const KIB = 1024;
const MIB = 1024 * KIB;

/** A JSON request body: far above any honest call, far below the 128 MB of a Worker's memory. */
export const JSON_BODY_BYTES_MAX = 1 * MIB;
/** A body that carries a workflow; the largest public graphs are near 1 MiB. */
export const WORKFLOW_BODY_BYTES_MAX = 4 * MIB;
/** One file in one request; Cloudflare's own cap on smaller plans. Larger outputs go up in parts. */
export const FILE_BYTES_MAX = 100 * MIB;
/** One part of a large output: uniform, above R2's 5 MiB minimum, small enough to retry. */
export const OUTPUT_PART_BYTES = 32 * MIB;
/** A whole output sent in parts: R2's 10,000 parts would allow more, a node's disk would not. */
export const OUTPUT_BYTES_MAX = 64 * KIB * MIB;
/** A data URI inside a JSON body is bounded by the body itself; this is the decoded size. */
export const DATA_URI_BYTES_MAX = 768 * KIB;
/** Nodes of one workflow. */
export const WORKFLOW_NODES_MAX = 10_000;
/** Pixels of an input picture, read from its header; a decoded one costs 12 bytes a pixel and more. */
export const IMAGE_PIXELS_MAX = 50_000_000;
/** Text of one string input. */
export const STRING_INPUT_LENGTH_MAX = 100_000;
/** Outputs of one job. */
export const OUTPUTS_PER_JOB_MAX = 1_000;
/** Text outputs up to this size are shown inside the job as well as stored. */
export const INLINE_TEXT_BYTES_MAX = 4 * KIB;

/** Jobs waiting in one endpoint, unless its settings say otherwise. */
export const QUEUE_DEPTH_DEFAULT = 100_000;
/** The most an endpoint's settings may allow: a million waiting rows of 4 KiB stay within half of an object's 10 GB. */
export const QUEUE_DEPTH_MAX = 1_000_000;
/** Jobs of one batch: all of them are taken in one transaction, which must not hold up the queue. */
export const BATCH_JOBS_MAX = 1_000;
/** Values of one swept field. */
export const SWEEP_VALUES_MAX = BATCH_JOBS_MAX;
/** Operations (bulk cancel, retry, redrive, purge) that run on one endpoint at once. */
export const OPERATIONS_RUNNING_MAX = 10;
/** Records of ended operations are kept this many days. */
export const OPERATION_RETENTION_DAYS = 7;
/** Tags of one job, and bytes of one tag. */
export const TAGS_MAX = 16;
export const TAG_BYTES_MAX = 256;
/** Builds of one workspace; each change of a machine's software is one. */
export const BUILDS_PER_WORKSPACE_MAX = 1_000;
/** A page of a list. */
export const PAGE_SIZE_MAX = 100;
export const PAGE_SIZE_DEFAULT = 20;
/** Endpoints of one workspace: a list of jobs asks each of them. */
export const ENDPOINTS_PER_WORKSPACE_MAX = 200;
/** Releases of one endpoint, each of which may take megabytes and is kept: one a day for years. */
export const RELEASES_PER_ENDPOINT_MAX = 2_000;

/** How long a poll for work or a node's heartbeat waits: below every proxy's idle limit. */
export const LONG_POLL_MS = 25_000;
/** A newline at this pace keeps a waiting answer open and shows a gone client. */
export const POLL_HEARTBEAT_MS = 5_000;
/** `Prefer: wait` at most. */
export const WAIT_S_MAX = 60;
/** A comment at this pace keeps a quiet event stream open; clients drop one after 45 s. */
export const SSE_KEEPALIVE_MS = 10_000;
/** Open event streams and waits of one job; more than a few are a leak on the caller's side. */
export const WATCHERS_PER_JOB_MAX = 100;

/** A lease until the agent's first message: a poll answered into a dead socket costs no more than this. */
export const LEASE_CONFIRM_MS = 10_000;
/** A confirmed lease; each message renews it. */
export const LEASE_MS = 30_000;
/** An agent renews at least this often; ours does so every 3 s, because the answer is how it hears of a cancel. */
export const LEASE_RENEW_MS = 10_000;
/** Tries of one job. */
export const ATTEMPTS_MAX = 3;
/** The first retry waits about this long, each further one twice as long, with full jitter. */
export const RETRY_DELAY_MS = 1_000;
export const RETRY_DELAY_MS_MAX = 60_000;
/** Waiting this long is worth one level of priority, so that nothing starves. */
export const AGEING_MS_PER_LEVEL = 60_000;
export const PRIORITY_MIN = 0;
export const PRIORITY_MAX = 9;
export const PRIORITY_DEFAULT = 5;

/** How long a job may wait for its start, unless it says otherwise. */
export const EXPIRES_IN_S_DEFAULT = 86_400;
export const EXPIRES_IN_S_MAX = 7 * 86_400;
/** How long one attempt may execute, unless the job or the endpoint says otherwise. */
export const TIMEOUT_S_DEFAULT = 600;
export const TIMEOUT_S_MAX = 86_400;
/** Retries with the same Idempotency-Key get the first answer for this long. */
export const IDEMPOTENCY_KEY_MS = 86_400_000;
export const IDEMPOTENCY_KEY_LENGTH_MAX = 255;
/** Progress is written to storage at most this often; in between it lives in memory. */
export const PROGRESS_PERSIST_MS = 5_000;

/** Webhook subscriptions of one workspace. */
export const WEBHOOKS_PER_WORKSPACE_MAX = 100;
/** Body of a webhook message: links to outputs, never their bytes. */
export const WEBHOOK_BODY_BYTES_MAX = 20_000;
/** A receiver must have answered, headers and body, by then. */
export const WEBHOOK_TIMEOUT_MS = 15_000;
/** So much of a receiver's answer is kept in the delivery log. */
export const WEBHOOK_ANSWER_BYTES_MAX = 4 * KIB;
/** So much of it is read at most: whoever says more has answered all the same. */
export const WEBHOOK_ANSWER_READ_BYTES_MAX = 64 * KIB;
/** Seconds after the first try at which the further ones follow it, one after the other: ten tries over 75 hours. */
export const WEBHOOK_RETRY_DELAYS_S = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] as const;
/** A rotated secret signs beside the new one for this long. */
export const WEBHOOK_SECRET_OVERLAP_MS = 86_400_000;
/** A destination that has failed for this long without one success is disabled. */
export const WEBHOOK_DISABLE_AFTER_MS = 5 * 86_400_000;
/** Deliveries and their tries are kept this many days. */
export const DELIVERY_RETENTION_DAYS = 30;
/** A listening command that has not asked for this long is gone, and its subscription with it. */
export const LISTEN_LOST_MS = 5 * 60_000;

/** Outputs are kept this many days, records of ended jobs this many. */
export const OUTPUT_RETENTION_DAYS = 7;
export const JOB_RETENTION_DAYS = 30;
/** Uploaded inputs nobody used are kept this long. */
export const FILE_RETENTION_DAYS = 30;
/** A signed link to an output works this long; every read of the job makes fresh ones. */
export const SIGNED_LINK_S = 3_600;

/** A replica without work stops after this long, unless the endpoint says otherwise. */
export const IDLE_TIMEOUT_S_DEFAULT = 60;
export const IDLE_TIMEOUT_S_MAX = 86_400;
/** GPU-seconds a second of waiting is worth: below the least nothing is ever started early, above the most nothing ever stops. */
export const WAIT_VALUE_MIN = 0.01;
export const WAIT_VALUE_DEFAULT = 10;
export const WAIT_VALUE_MAX = 10_000;
/** Batch jobs wait this long for a replica that idles before one is started for them: long enough that a batch comes together. */
export const BATCH_TARGET_WAIT_S_DEFAULT = 10;
/** Windows of one warm schedule: three a day. */
export const WARM_WINDOWS_MAX = 21;
/** Replicas kept warm by hand end by themselves at the latest after this: nobody pays for what was forgotten. */
export const WARM_S_MAX = 7 * 86_400;
/** Scaling decisions an endpoint keeps, to be read: a day's worth on a busy one. */
export const SCALING_DECISIONS_KEPT = 500;
/** Pods of one endpoint; each of them is told of its demand. */
export const PODS_PER_ENDPOINT_MAX = 8;
export const PODS_PER_WORKSPACE_MAX = 200;
/** Living join tokens of one pod. */
export const JOIN_TOKENS_PER_POD_MAX = 1_000;
export const JOIN_TOKEN_S_DEFAULT = 86_400;
export const JOIN_TOKEN_S_MAX = 365 * 86_400;
/** Machines that join with one token, whatever it allows: whoever finds one cannot fill a pod with nodes for ever. */
export const JOIN_TOKEN_USES_MAX = 10_000;
/** Join tokens that are over are listed for so long. */
export const JOIN_TOKEN_RETENTION_DAYS = 30;
/** Types of card that a workspace has changed or added; each pod is told of the added ones. */
export const GPU_TYPES_PER_WORKSPACE_MAX = 100;
/** A line of a replica's log, and how many of them one report carries and one replica keeps. */
export const LOG_LINE_LENGTH_MAX = 1_000;
export const LOG_LINES_PER_REPORT_MAX = 100;
export const LOG_LINES_KEPT = 1_000;
/** Builds and models a node names as its own, the latest used first: enough for any disk, and bounded in a message. */
export const NODE_BUILDS_MAX = 200;
export const NODE_MODELS_MAX = 2_000;
/** A node's live figures come at this pace while somebody looks, and else at the slower one. */
export const METRICS_WATCHED_MS = 1_000;
export const METRICS_UNWATCHED_MS = 15_000;
/** Somebody who has not asked for this long no longer looks. */
export const METRICS_WATCH_MS = 10_000;
export const REPLICAS_MAX = 100;
/** Replicas of an endpoint unless its settings say otherwise: nobody pays for a second GPU that was not asked for. */
export const MAX_REPLICAS_DEFAULT = 1;
/**
 * A node that has had no poll open for this long is gone. An agent polls again at once; over a connection that died
 * unseen, within the 15 s it takes to call it dead and a second for another. With the poll that was open when the network
 * was cut, a node is given up within 45 s, with two of them to spare.
 */
export const NODE_LOST_MS = 18_000;
/**
 * A replica that has had no poll open, nor renewed a lease, for this long is gone. Longer than a pod takes to miss its
 * node: of a machine that was only away the pod is to know first, so that it can take the replica up again.
 */
export const REPLICA_LOST_MS = 50_000;
export const SLOTS_PER_NODE_MAX = 64;
/** Nodes of one pod, those that are away included: its object weighs all of them in each turn, and lists them in one answer. */
export const NODES_PER_POD_MAX = 500;
/** Endpoints that reading a pod names, those that wait first: half of what a workspace may have, more than anyone reads. */
export const POD_ENDPOINTS_LISTED_MAX = 100;
/** Builds, and models, that a list of nodes names of each: five hundred nodes with all they have are more than one answer holds. */
export const NODE_LISTED_MAX = 20;
/** Index of a card, as its driver counts: no machine has so many, and an agent may show only some of them. */
export const GPU_INDEX_MAX = 1_023;
/** Memory of one card, MB: 4 TiB, some ten times the largest one there is. */
export const VRAM_MB_MAX = 4 * KIB * KIB;
/** Memory or disk of one machine, MB: an exbibyte. */
export const MACHINE_MB_MAX = KIB * KIB * MIB;
/** What a sensor may say of a card: colder is outside of this world, hotter is a melted card or a broken sensor. */
export const CARD_TEMPERATURE_C_MIN = -100;
export const CARD_TEMPERATURE_C_MAX = 300;
/** Draw of one card, W: ten times the most that is sold. */
export const CARD_POWER_W_MAX = 20_000;
/** Traffic of one machine, bytes a second: eight terabits. */
export const NETWORK_BYTES_PER_S_MAX = 1_000_000_000_000;

/** Looked-up keys, endpoints and releases are remembered this long; a revoked key works no longer than that. */
export const CATALOG_CACHE_MS = 30_000;
/** Node sessions are signed for this long and renewed while the node polls. */
export const NODE_SESSION_S = 90 * 86_400;
/** The whole body of a request must have arrived by then. */
export const BODY_DEADLINE_MS = 30_000;
/** An input fetched from a caller's URL must have arrived by then. */
export const INPUT_FETCH_MS = 30_000;

/** One model file: above the largest public ones, far below what R2 keeps as one object. */
export const MODEL_BYTES_MAX = 64 * KIB * MIB;
/** One part of a model on its way in, all alike but the last; the same as of an output, and for the same reasons. */
export const MODEL_PART_BYTES = OUTPUT_PART_BYTES;
/** Parts of one model: R2's own bound. */
export const MODEL_PARTS_MAX = 10_000;
/** Bytes of all models of one workspace together: some forty large checkpoints, and a bill that nobody makes by mistake. */
export const MODELS_BYTES_PER_WORKSPACE_MAX = KIB * KIB * MIB;
/** Models of one workspace, those that failed included. */
export const MODELS_PER_WORKSPACE_MAX = 5_000;
/** Folders and names of one model. */
export const MODEL_PLACES_MAX = 50;
/** An upload of which no part has come for this long is over; R2 itself would end it after seven days. */
export const MODEL_UPLOAD_IDLE_MS = 3 * 86_400_000;
/** A server that cannot send ranges must send the whole file in one go, which begins again when it breaks. */
export const MODEL_STREAM_BYTES_MAX = KIB * MIB;
