/** Machines with real agents and stand-ins, as programs of their own. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Child, startChild } from "#cli/local/child-process";
import { killLeftovers } from "#cli/local/leftovers";
import type { LocalStack } from "#cli/local/stack";
import { killLeftovers as killComfyUis } from "#gpu-agent/comfy/host-process";

const AGENT = fileURLToPath(new URL("../../gpu-agent/main.ts", import.meta.url));
const JOIN_TOKEN_S = 3_600;
/** Long enough to end by itself. */
const GRACE_MS = 8_000;

export interface RealNodes {
  stop(): Promise<void>;
}

export interface RealNodesPlan {
  readonly nodes: number;
  readonly slots: number;
  /** Flags of every stand-in. */
  readonly comfyArgs: readonly string[];
  /** For states and logs. */
  readonly folder: string;
}

/** Makes so many machines join the stack's pod. They are still on their way when this resolves. */
export async function startRealNodes(stack: LocalStack, plan: RealNodesPlan): Promise<RealNodes> {
  const { token } = await stack.client.pods.createJoinToken(stack.credentials.pod_id, { expires_in: JOIN_TOKEN_S });
  if (token === undefined) throw new Error("the server made no join token");
  const agents: { readonly child: Child; readonly root: string }[] = [];
  for (let number = 1; number <= plan.nodes; number += 1) {
    const root = join(plan.folder, `node-${number}`);
    await mkdir(root, { recursive: true });
    const child = startChild({
      program: AGENT,
      args: [
        ...["--url", stack.url, "--name", `node-${number}`, "--state-directory", join(root, "state")],
        ...["--slots", String(plan.slots), "--stand-in", "--min-free-gb", "0.1", "--drain-seconds", "1"],
      ],
      env: {
        PILOTLIGHT_JOIN_TOKEN: token,
        COMFYUI_ARGS: plan.comfyArgs.join(" "),
        COMFYUI_DIR: undefined,
        COMFYUI_URL: undefined,
        COMFYUI_STAND_IN: undefined,
      },
      stateRoot: root,
      role: "agent",
      logFile: join(root, "agent.log"),
    });
    agents.push({ child, root });
  }
  return {
    stop: async () => {
      for (const { child, root } of agents) {
        await child.stop(GRACE_MS);
        await killLeftovers(root, "agent");
        await killComfyUis(join(root, "state", "slots"));
      }
    },
  };
}
