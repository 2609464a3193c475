/**
 * What becomes of capacity when a machine, its agent, its network or the server dies at each phase of a replica's life:
 * `npm run chaos:capacity`. Progress goes to stderr; the last line of stdout is the count of everything, and the exit
 * code is 0 only when the counters were right again in time, no slot was lost and every job succeeded.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { processesOf } from "#cli/local/leftovers";
import { type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { JobId, PodId } from "#contract/ids";
import type { ReplicaState } from "#contract/replica";
import { until } from "#test/until";
import { AgentProcess } from "./agent-process.ts";
import { WORKFLOWS } from "./workload.ts";

/** Phases of a replica's life in which a fault finds it. */
export const PHASES = ["booting", "loading", "ready", "busy", "draining"] as const satisfies readonly ReplicaState[];
export type CapacityPhase = (typeof PHASES)[number];
/**
 * `agent`: killed, and started again at once. `node`: the machine with all that runs on it, back after AWAY_MS.
 * `network`: nothing passes for AWAY_MS, and nobody is told. `server`: killed, and started again at once.
 */
export const FAULTS = ["agent", "node", "network", "server"] as const;
export type CapacityFault = (typeof FAULTS)[number];

/** Long enough to be given up as lost. */
const AWAY_MS = 30_000;
/** Of a case in which nobody looks: longer than RIGHT_MS_MAX, so that nothing wakes the server before the look. */
const QUIET_AWAY_MS = 50_000;
/** And the look comes so long before RIGHT_MS_MAX. */
const QUIET_LOOK_MS = 1_000;
/** By then what the API counts is what there is. */
export const RIGHT_MS_MAX = 45_000;
/** A case that takes longer is stuck. */
const CASE_MS_MAX = 180_000;
/** Right for so long counts as right. */
const STEADY_MS = 5_000;
const BOOT_MS = 3_000;
const SLOW_MS = 3_000;
const LOOK_MS = 25;
const COMFY_ARGS = ["--fault-slow-boot-ms", String(BOOT_MS), "--fault-slow-marker-ms", String(SLOW_MS)];
/** What its saved prompt says makes the run before `ready` slow, so that there is a time in which it loads. */
const WORKFLOW = { ...WORKFLOWS.plain, 3: { ...WORKFLOWS.plain[3], inputs: { value: "__slow__" } } };

export interface CapacityCase {
  readonly fault: CapacityFault;
  readonly phase: CapacityPhase;
}

export interface CapacityOutcome extends CapacityCase {
  /** From the fault until the counters were right and stayed so, or until the one look that was taken, ms. */
  readonly rightAfterMs: number;
  /** What was wrong after RIGHT_MS_MAX or at the end; empty when nothing was. */
  readonly wrong: readonly string[];
}

/**
 * Runs the cases, those of one kind of fault beside each other.
 * @param isQuiet nobody looks or asks for anything after the fault until RIGHT_MS_MAX is nearly over: the server has to
 *   find out by itself, with its objects thrown out of memory
 * @throws when the server or an agent does not start
 */
export async function runCapacity(
  cases: readonly CapacityCase[],
  report: (line: string) => void,
  isQuiet = false,
): Promise<CapacityOutcome[]> {
  const folder = await mkdtemp(join(tmpdir(), "pilotlight-capacity-"));
  const signal = new AbortController().signal;
  const state = stateFolderAt(join(folder, "server"));
  const stack = await startStack({ state, port: 0, report, signal });
  const outcomes: CapacityOutcome[] = [];
  try {
    for (const fault of FAULTS) {
      const alike = cases.filter((each) => each.fault === fault);
      const ended = await Promise.all(alike.map((each) => runCase(each, isQuiet, stack, state.root, folder)));
      for (const { phase, rightAfterMs, wrong } of ended) {
        report(
          `${fault} while ${phase}: right after ${Math.round(rightAfterMs)} ms${wrong.map((line) => `; ${line}`).join("")}`,
        );
      }
      outcomes.push(...ended);
    }
    return outcomes;
  } finally {
    await stack.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** A case on a machine, a pod and an endpoint of its own. */
async function runCase(
  { fault, phase }: CapacityCase,
  isQuiet: boolean,
  stack: LocalStack,
  serverRoot: string,
  folder: string,
): Promise<CapacityOutcome> {
  const { client } = stack;
  const slug = `${fault}-${phase}`;
  const pod = await client.pods.create({ name: slug });
  const { token } = await client.pods.createJoinToken(pod.id, { expires_in: 3_600 });
  if (token === undefined) throw new Error("There is no join token");
  const own = join(folder, slug);
  await mkdir(own);
  const target = () => ({ host: "127.0.0.1", port: Number(new URL(stack.url).port) });
  const agent = await AgentProcess.start({ name: slug, folder: own, joinToken: token, target, comfyArgs: COMFY_ARGS });
  try {
    const settings = { max_replicas: 2, idle_timeout_s: 600, attempts_max: 10 };
    await client.endpoints.create({ slug, workflow: WORKFLOW, pod_id: pod.id, settings });
    await until("the node has joined", async () =>
      (await client.nodes.list(pod.id)).some(({ online }) => online) ? true : undefined,
    );
    const jobs: JobId[] = [];
    const submit = async (prompt: string): Promise<JobId> => {
      const { id } = await client.jobs.submit(slug, { inputs: { color: jobs.length, prompt } });
      jobs.push(id);
      return id;
    };
    await bring(phase, stack, slug, submit);
    const at = performance.now();
    await strike(fault, isQuiet ? QUIET_AWAY_MS : AWAY_MS, agent, serverRoot);
    // While the fault lasts, new work arrives as well.
    if (isQuiet) await sleep(at + RIGHT_MS_MAX - QUIET_LOOK_MS - performance.now());
    else await submit("after the fault __slow__").catch(() => submit("after the fault __slow__"));

    const isAway = isQuiet && lastingMs(fault) > 0;
    const look = () => wrongWith(stack, slug, pod.id, agent, isAway);
    let rightSince: number | null = null;
    let wrong: string[] = [];
    const isOver = () => {
      const now = performance.now();
      const steady = rightSince !== null && now - rightSince >= STEADY_MS;
      return (
        now - at >= RIGHT_MS_MAX ||
        (isQuiet && rightSince !== null) ||
        (steady && now - at >= lastingMs(fault) + STEADY_MS)
      );
    };
    while (!isOver()) {
      wrong = await look().catch((error: unknown) => [`no answer: ${String(error)}`]);
      rightSince = wrong.length > 0 ? null : (rightSince ?? performance.now());
      await sleep(LOOK_MS * 10);
    }
    const rightAfterMs = rightSince === null ? Number.POSITIVE_INFINITY : rightSince - at;

    const late = [...wrong];
    const ends = await Promise.all(
      jobs.map((id) => client.jobs.wait(id, { signal: AbortSignal.timeout(CASE_MS_MAX) }).catch(() => null)),
    );
    ends.forEach((job, index) => {
      if (job?.state !== "succeeded") late.push(`job ${index}: ${job?.error?.code ?? job?.state ?? "never ended"}`);
    });
    // Both slots can still be used, and both are free in the end.
    await client.endpoints.patch(slug, { settings: { min_replicas: 2 } });
    late.push(
      ...(await withinCase("two replicas", async () =>
        (await client.replicas.list(slug)).filter(({ state }) => state === "ready").length === 2 ? true : undefined,
      )),
    );
    await client.endpoints.patch(slug, { settings: { min_replicas: 0, idle_timeout_s: 1 } });
    late.push(
      ...(await withinCase("no replica", async () => {
        const [replicas, nodes] = [await client.replicas.list(slug), await client.nodes.list(pod.id)];
        const free = nodes.every(({ slots }) => slots.every(({ replica_id }) => replica_id === null));
        return replicas.every(({ state }) => state === "crashed") && free && agent.livingComfys().length === 0
          ? true
          : undefined;
      })),
    );
    return { fault, phase, rightAfterMs, wrong: late };
  } finally {
    await agent.stop();
  }
}

/** Waits until a replica of the endpoint is in that phase. */
async function bring(
  phase: CapacityPhase,
  { client }: LocalStack,
  slug: string,
  submit: (prompt: string) => Promise<JobId>,
): Promise<void> {
  const reached = (state: ReplicaState) =>
    until(`a replica is ${state}`, async () =>
      (await client.replicas.list(slug)).find((replica) => replica.state === state),
    );
  const first = await submit("before the fault __slow__");
  if (phase === "ready") await client.jobs.wait(first);
  if (phase !== "draining") {
    await reached(phase);
    return;
  }
  const busy = await reached("busy");
  await client.replicas.stop(slug, busy.id);
  await reached("draining");
}

/** @param awayMs how long a machine or its network is away */
async function strike(fault: CapacityFault, awayMs: number, agent: AgentProcess, serverRoot: string): Promise<void> {
  switch (fault) {
    case "agent":
      agent.signal("SIGKILL");
      return;
    case "node":
      await agent.leave();
      setTimeout(() => agent.comeBack(), awayMs);
      return;
    case "network":
      agent.proxy.stall();
      setTimeout(() => agent.proxy.flow(), awayMs);
      return;
    case "server":
      for (const pid of await processesOf(serverRoot, "runtime")) process.kill(pid, "SIGKILL");
      return;
  }
}

/** How long the fault itself lasts, ms. */
function lastingMs(fault: CapacityFault): number {
  return fault === "node" || fault === "network" ? AWAY_MS : 0;
}

/** What the API counts and is not so. @param isAway the machine has been away for long enough to be given up, whatever runs on it */
async function wrongWith(
  stack: LocalStack,
  slug: string,
  podId: PodId,
  agent: AgentProcess,
  isAway: boolean,
): Promise<string[]> {
  const [nodes, replicas] = [await stack.client.nodes.list(podId), await stack.client.replicas.list(slug)];
  const living = replicas.filter(({ state }) => state !== "stopped" && state !== "crashed");
  const held = nodes
    .filter(({ online }) => online)
    .flatMap(({ slots }) => slots.flatMap(({ replica_id }) => replica_id ?? []));
  const wrong = [
    ...living.filter(({ id }) => !held.includes(id)).map(({ id, state }) => `${id} (${state}) is on no slot`),
    ...held
      .filter((id) => living.every((replica) => replica.id !== id))
      .map((id) => `a slot holds ${id}, which is no more`),
  ];
  if (isAway) {
    wrong.push(...nodes.filter(({ online }) => online).map(({ id }) => `${id} is online, and away`));
    wrong.push(...living.map(({ id, state }) => `${id} (${state}) is on a machine that is away`));
    return wrong;
  }
  const working = living.filter(({ state }) => state === "ready" || state === "busy").length;
  const comfys = agent.livingComfys().length;
  if (comfys < working) wrong.push(`${working} replicas work, and ${comfys} ComfyUIs live`);
  if (comfys > living.length) wrong.push(`${comfys} ComfyUIs live, and there are ${living.length} replicas`);
  return wrong;
}

/** @returns what was waited for in vain */
async function withinCase(what: string, look: () => Promise<true | undefined>): Promise<string[]> {
  try {
    await until(what, look, CASE_MS_MAX);
    return [];
  } catch {
    return [`never: ${what}`];
  }
}
