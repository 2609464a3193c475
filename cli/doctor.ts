/** What `pilotlight doctor` looks at. Each look gives one finding with a stable code. */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { type Connection, localUrl } from "#cli/connection";
import { chooseComfyUi, describeComfyUi } from "#cli/local/comfyui";
import { stateRootOf } from "#cli/local/state-folder";
import { byteSize } from "#cli/text-table";
import { Pilotlight } from "#client/pilotlight";
import { PilotlightError } from "#client/pilotlight-error";
import type { NodeSummary } from "#contract/replica";

export interface Finding {
  readonly code: FindingCode;
  readonly level: "ok" | "warning" | "problem";
  readonly detail: string;
  /** What to do. */
  readonly hint: string | null;
}
export const FINDING_CODES = [
  "node_version",
  "disk_space",
  "server",
  "clock",
  "key",
  "node_online",
  "gpu",
  "comfyui",
] as const;
export type FindingCode = (typeof FINDING_CODES)[number];

export interface DoctorOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Null: there is no key. */
  readonly connection: Connection | null;
  readonly url: string | undefined;
  readonly signal: AbortSignal;
  /** Of this machine; tests give their own. */
  readonly nodeVersion?: string;
}

const NODE_MAJOR_MIN = 22;
const NODE_MINOR_MIN = 18;
const FREE_BYTES_MIN = 2_000_000_000;
const CLOCK_MS_MAX = 5_000;
const ANSWER_MS_MAX = 5_000;

export async function findings(options: DoctorOptions): Promise<Finding[]> {
  const all: Finding[] = [nodeVersion(options.nodeVersion ?? process.versions.node), await diskSpace(options.env)];
  const baseUrl = options.connection?.baseUrl ?? options.url ?? localUrl(options.env);
  const client = new Pilotlight({
    baseUrl,
    token: options.connection?.token,
    retryForMs: 0,
    answerTimeoutMs: ANSWER_MS_MAX,
  });
  all.push(...(await serverAndClock(client, options.signal)));
  const isThere = all.some(({ code, level }) => code === "server" && level === "ok");
  if (isThere) all.push(...(await keyAndNodes(client, options)));
  all.push(await comfyUi(options.env));
  return all;
}

function nodeVersion(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isEnough = major > NODE_MAJOR_MIN || (major === NODE_MAJOR_MIN && minor >= NODE_MINOR_MIN);
  const hint = "Use the npm scripts: they bring a Node of their own on Linux.";
  return isEnough
    ? { code: "node_version", level: "ok", detail: `Node ${version}`, hint: null }
    : { code: "node_version", level: "problem", detail: `Node ${version} is older than 22.18`, hint };
}

async function diskSpace(env: NodeJS.ProcessEnv): Promise<Finding> {
  const root = stateRootOf(env);
  const { bavail, bsize } = await statfs(dirname(root)).catch(() => ({ bavail: 0, bsize: 0 }));
  const free = bavail * bsize;
  const detail = `${byteSize(free)} free beside ${root}`;
  return free >= FREE_BYTES_MIN
    ? { code: "disk_space", level: "ok", detail, hint: null }
    : { code: "disk_space", level: "warning", detail, hint: "Outputs and uploads need room." };
}

async function serverAndClock(client: Pilotlight, signal: AbortSignal): Promise<Finding[]> {
  const askedAt = Date.now();
  try {
    const { version } = await client.health({ signal });
    const server: Finding = {
      code: "server",
      level: "ok",
      detail: `${client.baseUrl} answers, version ${version}`,
      hint: null,
    };
    const date = (
      await fetch(`${client.baseUrl}/v1/health`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    ).headers.get("date");
    return date === null ? [server] : [server, clock(Date.parse(date), askedAt)];
  } catch (error) {
    signal.throwIfAborted();
    const why = error instanceof PilotlightError ? error.detail : String(error);
    const hint = "`npm start` starts one here; PILOTLIGHT_API_URL names another.";
    return [{ code: "server", level: "problem", detail: why, hint }];
  }
}

/** The service decides by its own clock; a wrong one here only misleads people who read times. */
function clock(serverMs: number, askedAt: number): Finding {
  // The header has whole seconds.
  const offMs = Math.abs(serverMs + 500 - askedAt);
  return offMs <= CLOCK_MS_MAX
    ? { code: "clock", level: "ok", detail: "this machine and the server agree on the time", hint: null }
    : {
        code: "clock",
        level: "warning",
        detail: `this machine's clock is ${Math.round(offMs / 1_000)} s off the server's`,
        hint: "Times shown here will be wrong; nothing depends on them.",
      };
}

async function keyAndNodes(client: Pilotlight, options: DoctorOptions): Promise<Finding[]> {
  const { connection, signal } = options;
  if (connection === null) {
    const hint = "Set PILOTLIGHT_TOKEN; `npm start` makes a first key.";
    return [{ code: "key", level: "problem", detail: `there is no key for ${client.baseUrl}`, hint }];
  }
  try {
    const me = await client.me({ signal });
    const key: Finding = {
      code: "key",
      level: "ok",
      detail: `workspace ${me.workspace}, scopes ${me.scopes.join(", ")}`,
      hint: null,
    };
    if (!me.scopes.some((scope) => scope === "read" || scope === "admin")) return [key];
    const nodes: NodeSummary[] = [];
    for (const pod of await client.pods.list({ signal })) nodes.push(...(await client.nodes.list(pod.id, { signal })));
    return [key, ...nodeFindings(nodes)];
  } catch (error) {
    signal.throwIfAborted();
    const why = error instanceof PilotlightError ? error.detail : String(error);
    return [{ code: "key", level: "problem", detail: why, hint: "Is PILOTLIGHT_TOKEN a key of this server?" }];
  }
}

function nodeFindings(nodes: readonly NodeSummary[]): Finding[] {
  const online = nodes.filter((node) => node.online);
  if (online.length === 0) {
    const detail = nodes.length === 0 ? "no node has joined" : `${nodes.length} joined, none is online`;
    return [
      {
        code: "node_online",
        level: "warning",
        detail,
        hint: "`npm start` runs one here; `pilotlight node join` adds a machine.",
      },
    ];
  }
  const names = online.map(({ name, comfyui }) => `${name} (${comfyui})`).join(", ");
  const gpus = online.flatMap((node) =>
    node.gpus.map(({ name, vram_mb }) => `${name} ${Math.round(vram_mb / 1_024)} GiB`),
  );
  return [
    { code: "node_online", level: "ok", detail: names, hint: null },
    gpus.length > 0
      ? { code: "gpu", level: "ok", detail: gpus.join(", "), hint: null }
      : {
          code: "gpu",
          level: "warning",
          detail: "no node has a GPU",
          hint: "Model-free workflows run; samplers need one.",
        },
  ];
}

async function comfyUi(env: NodeJS.ProcessEnv): Promise<Finding> {
  const choice = await chooseComfyUi(env);
  const isMissing = choice.kind === "url" && choice.found === null;
  return {
    code: "comfyui",
    level: isMissing ? "problem" : choice.kind === "stand-in" ? "warning" : "ok",
    detail: describeComfyUi(choice),
    hint: isMissing ? "Start it, or unset COMFYUI_URL." : null,
  };
}
