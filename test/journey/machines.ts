/** A server, and machines of two slots each that join its default pod, as agents and stand-ins of their own. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { Pilotlight } from "#client/pilotlight";
import { AgentProcess } from "#test/chaos/agent-process";
import { until } from "#test/until";

export interface Machines {
  readonly client: Pilotlight;
  readonly podId: string;
  readonly agents: readonly AgentProcess[];
  stop(): Promise<void>;
}

/** @param comfyArgs flags of every stand-in @returns when all of them have joined */
export async function startMachines(nodes: number, comfyArgs: readonly string[]): Promise<Machines> {
  const folder = await mkdtemp(join(tmpdir(), "pilotlight-machines-"));
  const state = stateFolderAt(join(folder, "server"));
  const stack = await startStack({ state, port: 0, report: () => undefined, signal: new AbortController().signal });
  const { client, credentials } = stack;
  const podId = credentials.pod_id;
  const { token } = await client.pods.createJoinToken(podId, { expires_in: 3_600 });
  if (token === undefined) throw new Error("There is no join token");
  const { hostname: host, port } = new URL(stack.url);
  const target = () => ({ host, port: Number(port) });
  const agents: AgentProcess[] = [];
  for (let number = 1; number <= nodes; number += 1) {
    const own = join(folder, `agent-${number}`);
    await mkdir(own);
    agents.push(await AgentProcess.start({ name: `node-${number}`, folder: own, joinToken: token, target, comfyArgs }));
  }
  await until("all nodes have joined", async () =>
    (await client.nodes.list(podId)).filter(({ online }) => online).length === nodes ? true : undefined,
  );
  return {
    client,
    podId,
    agents,
    stop: async () => {
      await Promise.all(agents.map((agent) => agent.stop()));
      await stack.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
