/** A workspace of its own for each test, and calls to the Worker as a caller makes them. */
import { env, exports } from "cloudflare:workers";
import { makeSecret, type Scope } from "#contract/access";
import { isJsonObject, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { KeyId, makeId, PodId, WorkspaceId } from "#contract/ids";
import { sha256Hex } from "#worker/auth/digest";
import { bootstrapStatements } from "#worker/catalog/bootstrap";
import { randomBytes } from "#worker/http/fresh-id";

export const ORIGIN = "https://pilotlight.test";

export interface TestWorkspace {
  readonly workspaceId: WorkspaceId;
  readonly podId: PodId;
  /** A key with the scope admin. */
  readonly key: string;
}

/** Makes a workspace with one pod and one key. */
export async function makeWorkspace(scopes: readonly Scope[] = ["admin"]): Promise<TestWorkspace> {
  const now = Date.now();
  const key = makeSecret("pl", randomBytes);
  const workspaceId = makeId(WorkspaceId, "ws", now, randomBytes);
  const podId = makeId(PodId, "pod", now, randomBytes);
  const statements = bootstrapStatements({
    workspaceId,
    workspaceName: "test",
    podId,
    podName: "default",
    key: {
      id: makeId(KeyId, "key", now, randomBytes),
      name: "test",
      hash: await sha256Hex(key),
      hint: "pl_…test",
      scopes,
    },
    nowMs: now,
  });
  await env.CATALOG.batch(statements.map(({ sql, params }) => env.CATALOG.prepare(sql).bind(...params)));
  return { workspaceId, podId, key };
}

export interface Sent {
  readonly key?: string | undefined;
  readonly json?: unknown;
  readonly body?: BodyInit;
  readonly headers?: Record<string, string>;
}

/** One request. `json` is written exactly, bigints included. */
export function send(method: string, path: string, sent: Sent = {}): Promise<Response> {
  const headers = new Headers(sent.headers);
  if (sent.key !== undefined) headers.set("authorization", `Bearer ${sent.key}`);
  if (sent.json !== undefined) headers.set("content-type", "application/json");
  const body = sent.json === undefined ? sent.body : stringifyExactJson(sent.json);
  const url = path.startsWith("http") ? path : `${ORIGIN}${path}`;
  return exports.default.fetch(
    new Request(url, { method, headers, redirect: "manual", ...(body === undefined ? {} : { body }) }),
  );
}

/** The answer's JSON, which must be an object. */
export async function jsonOf(answer: Response): Promise<JsonObject> {
  const value = parseExactJson(await answer.text(), { depthMax: 128 });
  if (!isJsonObject(value)) throw new Error("the answer is no JSON object");
  return value;
}

/** Status, problem code and paths of wrong fields, for one comparison. */
export async function refusalOf(answer: Response): Promise<{ status: number; code: unknown; paths?: unknown[] }> {
  const body = await jsonOf(answer);
  const paths = Array.isArray(body.errors)
    ? body.errors.map((error) => (isJsonObject(error) ? error.path : error))
    : undefined;
  return { status: answer.status, code: body.code, ...(paths === undefined ? {} : { paths }) };
}

/** A graph without models: takes a picture, scales it, saves it. */
export function scaleGraph(): JsonObject {
  return {
    "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
    "2": {
      class_type: "ImageScale",
      inputs: { image: ["1", 0], upscale_method: "nearest-exact", width: 64, height: 64, crop: "disabled" },
    },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "scaled" } },
  };
}

/** The usual text-to-image graph. */
export function textGraph(seed: number | bigint = 1): JsonObject {
  return {
    "3": {
      class_type: "KSampler",
      inputs: {
        seed,
        steps: 20,
        cfg: 7,
        sampler_name: "euler",
        scheduler: "normal",
        denoise: 1,
        model: ["4", 0],
        positive: ["6", 0],
        negative: ["7", 0],
        latent_image: ["5", 0],
      },
    },
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "model.safetensors" } },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 512, batch_size: 1 } },
    "6": { class_type: "CLIPTextEncode", inputs: { text: "a fox", clip: ["4", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "bad", clip: ["4", 1] } },
    "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
    "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "fox" } },
  };
}

/**
 * One replica, kept for a minute and started for batch jobs too: starts take no time here, so a policy that learns would
 * keep none between two jobs.
 */
const PLAIN_SETTINGS = { policy: "request_count", max_replicas: 1, batch_target_wait_s: 0 };

/** Makes an endpoint and answers it as the API shows it. */
export async function makeEndpoint(
  key: string,
  slug: string,
  { settings = {}, ...more }: Record<string, unknown> & { readonly settings?: object } = {},
): Promise<JsonObject> {
  const json = { slug, workflow: textGraph(), settings: { ...PLAIN_SETTINGS, ...settings }, ...more };
  const answer = await send("POST", "/v1/endpoints", { key, json });
  const body = await jsonOf(answer);
  if (answer.status !== 201) throw new Error(`endpoint refused: ${stringifyExactJson(body)}`);
  return body;
}

/** Submits a job and answers it. */
export async function submitJob(
  key: string,
  slug: string,
  inputs: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<JsonObject> {
  const answer = await send("POST", `/v1/endpoints/${slug}/jobs`, { key, json: { inputs }, headers });
  const body = await jsonOf(answer);
  if (answer.status !== 202) throw new Error(`job refused: ${stringifyExactJson(body)}`);
  return body;
}
