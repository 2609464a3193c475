/** The GPU agent: `node gpu-agent/main.ts --url https://… --join-token plj_… --comfyui-dir ~/ComfyUI`. */
import { setTimeout as sleep } from "node:timers/promises";
import { SLOTS_PER_NODE_MAX } from "#contract/limits";
import { type AgentBuilds, openAgentBuilds } from "./builds/agent-builds.ts";
import { adoptedHosts } from "./builds/release-hosts.ts";
import { AttachHost } from "./comfy/attach-host.ts";
import { killLeftovers } from "./comfy/host-process.ts";
import { comfyLaunch, SpawnHost, standInLaunch } from "./comfy/spawn-host.ts";
import { AgentCalls } from "./control/agent-calls.ts";
import { ControlClient } from "./control/control-client.ts";
import { hasOnlyCpu, listGpus, type RunProgram, runProgram, visibleGpus } from "./inventory.ts";
import { createLog, type Log, messageOf } from "./log.ts";
import { MachineMeter } from "./machine-meter.ts";
import { MetricsLoop } from "./metrics-loop.ts";
import { Inventory } from "./node-inventory.ts";
import { NodeLoop, NodeRefused } from "./node-loop.ts";
import { Replica } from "./replica.ts";
import { ReplicaSet } from "./replica-set.ts";
import { type AgentSettings, readSettings, SettingsError, USAGE } from "./settings.ts";
import { lockState, prepareState, StateInUse, statePaths } from "./state-directory.ts";

export const AGENT_VERSION = "0.1.0";

export interface AgentSignals {
  /** Finish the jobs in hand, within the drain time, then end. */
  readonly drain: AbortSignal;
  /** Give the jobs in hand back and end. */
  readonly hurry: AbortSignal;
}

export interface AgentSurroundings {
  readonly log: Log;
  readonly environment: NodeJS.ProcessEnv;
  /** Runs nvidia-smi. */
  readonly runProgram: RunProgram;
}

/**
 * Runs the agent until it is told to end.
 * @throws NodeRefused when the server will not have it; StateInUse when another agent uses its folder
 */
export async function runAgent(
  settings: AgentSettings,
  signals: AgentSignals,
  surroundings: Partial<AgentSurroundings> = {},
): Promise<void> {
  const log = surroundings.log ?? createLog(process.stderr);
  const environment = surroundings.environment ?? process.env;
  const runner = surroundings.runProgram ?? runProgram;
  const paths = statePaths(settings.stateDirectory);
  const unlock = lockState(paths);
  try {
    await prepareState(paths);
    const leftovers = await killLeftovers(paths.slots);
    if (leftovers > 0) log("leftovers_ended", { processes: leftovers });

    const seen = await listGpus(surroundings.runProgram, (reason) => log("gpus_unknown", { error: reason }));
    const gpus = visibleGpus(seen, environment.CUDA_VISIBLE_DEVICES);
    const { slots, slotsPerGpu } = slotCount(settings, gpus.length);
    const stop = new AbortController();
    const client = new ControlClient({
      url: settings.url,
      session: () => loop.session,
      log,
      timings: settings.timings,
    });
    const calls = new AgentCalls(client);
    const { hosts, stores, close } = await releaseHosts({
      settings,
      environment,
      gpus,
      slots: paths.slots,
      session: () => loop.session,
      log,
    });
    log("agent_started", { version: AGENT_VERSION, slots, gpus: gpus.length, comfyui: hosts.description });
    const replicas = new ReplicaSet(
      slots,
      (wanted) => new Replica({ wanted, calls, hosts, settings, paths, log, onChange: () => loop.changed() }),
    );
    const meter = new MachineMeter({ gpus, folder: settings.stateDirectory, runner });
    const metrics = new MetricsLoop({
      measure: () => meter.measure(),
      send: (figures) => loop.sendMetrics(figures),
      log,
    });
    const inventory = new Inventory({
      gpus,
      folder: settings.stateDirectory,
      python: pythonOf(settings),
      stores,
      runner,
    });
    const loop: NodeLoop = new NodeLoop({
      settings,
      paths,
      calls,
      replicas,
      gpus: () => Promise.resolve(gpus),
      comfyDescription: () => hosts.description,
      slots,
      slotsPerGpu,
      inventory,
      onMetricsPace: (everyMs) => metrics.paceAsked(everyMs),
      version: AGENT_VERSION,
      log,
      drain: AbortSignal.any([signals.drain, signals.hurry]),
      stop: stop.signal,
    });
    const polling = loop.run();
    const measuring = metrics.run(stop.signal);
    try {
      await Promise.race([polling, whenToEnd(settings, signals, replicas, log)]);
    } finally {
      replicas.hurry();
      await replicas.ended();
      stop.abort(new Error("the agent ends"));
      await polling.catch(() => undefined);
      await measuring;
      close();
    }
    await loop.farewell();
    log("agent_stopped");
  } finally {
    unlock();
  }
}

/** Resolves when the replicas are to end at once: drained, out of time, or told to hurry. */
async function whenToEnd(
  settings: AgentSettings,
  signals: AgentSignals,
  replicas: ReplicaSet,
  log: Log,
): Promise<void> {
  await fired(AbortSignal.any([signals.drain, signals.hurry]));
  log("agent_drains", { graceMs: settings.timings.drainMs });
  replicas.drain();
  const over = new AbortController();
  await Promise.race([
    replicas.ended(),
    fired(signals.hurry),
    sleep(settings.timings.drainMs, undefined, { signal: over.signal }).catch(() => undefined),
  ]);
  over.abort();
}

function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** How many replicas at once, and how many of them share a card: they go round the cards. */
export function slotCount(
  settings: Pick<AgentSettings, "comfy" | "slots" | "slotsPerGpu">,
  gpus: number,
): { readonly slots: number; readonly slotsPerGpu: number } {
  const cards = Math.max(1, gpus);
  const asked = settings.comfy.kind === "attach" ? settings.comfy.urls.length : settings.slots;
  const slots = Math.min(SLOTS_PER_NODE_MAX, asked ?? cards * settings.slotsPerGpu);
  return { slots, slotsPerGpu: Math.ceil(slots / cards) };
}

/** The interpreter of the one ComfyUI of this machine; null where there is none, or each build has its own. */
function pythonOf({ comfy }: AgentSettings): string | null {
  return comfy.kind === "spawn" ? comfy.python : null;
}

function releaseHosts(
  options: Omit<Parameters<typeof openAgentBuilds>[0], "comfy">,
): AgentBuilds | Promise<AgentBuilds> {
  const { settings, environment, gpus, slots } = options;
  const { comfy, timings } = settings;
  if (comfy.kind === "builds") return openAgentBuilds({ ...options, comfy });
  const close = () => undefined;
  // What its owner installed has no digest, and its models are not asked for by theirs.
  const stores = { builds: () => Promise.resolve([]), models: () => Promise.resolve([]) };
  if (comfy.kind === "attach") return { hosts: adoptedHosts(new AttachHost(comfy.urls, timings)), stores, close };
  const launch =
    comfy.kind === "spawn"
      ? comfyLaunch(comfy, hasOnlyCpu(gpus), settings.stateDirectory, environment)
      : standInLaunch(comfy.args, environment);
  return { hosts: adoptedHosts(new SpawnHost({ launch, gpus, slots, timings })), stores, close };
}

async function readStdin(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin) text += String(chunk);
  return text;
}

/** The program. @returns its exit code */
async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(USAGE);
    return 0;
  }
  const drain = new AbortController();
  const hurry = new AbortController();
  const onSignal = () => (drain.signal.aborted ? hurry : drain).abort(new Error("signal"));
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    const settings = await readSettings(argv, process.env, readStdin);
    await runAgent(settings, { drain: drain.signal, hurry: hurry.signal });
    return 0;
  } catch (error) {
    if (error instanceof SettingsError) {
      process.stderr.write(`${error.message}\n\n${USAGE}`);
      return 2;
    }
    if (error instanceof NodeRefused || error instanceof StateInUse) {
      process.stderr.write(`${error.message}\n`);
      return 1;
    }
    createLog(process.stderr)("agent_failed", { error: messageOf(error) });
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
