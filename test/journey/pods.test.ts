/** A machine's way into a pod and out of it, with real processes: the server, the agent, and a made-up nvidia-smi. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { NodeSummary, Pod } from "#contract/replica";
import { envelopeOf, type RunningCommand, runCli, startCli } from "#test/journey/system";
import { until } from "#test/until";

const TEST_MS_MAX = 120_000;
/** Answers as nvidia-smi does for one card, whose name and memory it is given. */
const NVIDIA_SMI = `#!/bin/sh
case "$*" in
  *driver_version*) echo "0, $CARD_NAME, GPU-5c1d, $CARD_MB, 560.35" ;;
  *temperature.gpu*) echo "0, 93, 9000, $CARD_MB, 61, 312.40" ;;
esac
`;
const RTX_4090 = { CARD_NAME: "NVIDIA GeForce RTX 4090", CARD_MB: "24564" };
const LAPTOP = { CARD_NAME: "NVIDIA GeForce RTX 4090 Laptop GPU", CARD_MB: "16376" };

let folder: string;
let stack: LocalStack;
let pod: Pod;
const joining: RunningCommand[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-pods-"));
  await mkdir(join(folder, "bin"));
  await writeFile(join(folder, "bin/nvidia-smi"), NVIDIA_SMI);
  await chmod(join(folder, "bin/nvidia-smi"), 0o755);
  const signal = new AbortController().signal;
  stack = await startStack({ state: stateFolderAt(join(folder, "server")), port: 0, report: () => undefined, signal });
  pod = await stack.client.pods.create({ name: "rack", gpu_types: ["rtx-4090"] });
});
afterAll(async () => {
  for (const each of joining) each.process.kill("SIGKILL");
  await stack?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Makes a machine with that card join. @param name of the machine and its state directory */
function joinAs(name: string, token: string | undefined, card: Record<string, string>): RunningCommand {
  const words = ["--url", stack.url, "--join-token", token ?? "", "--stand-in", "--name", name];
  const command = startCli(["node", "join", ...words, "--state-directory", join(folder, name)], {
    ...card,
    PATH: `${join(folder, "bin")}:${process.env.PATH ?? ""}`,
  });
  joining.push(command);
  return command;
}

/** The command line with the admin's key. */
const run = (...words: string[]) =>
  runCli([...words, "--json"], { PILOTLIGHT_API_URL: stack.url, PILOTLIGHT_TOKEN: stack.credentials.key });

const nodeNamed = (name: string) =>
  until(`${name} is online`, async () =>
    (await stack.client.nodes.list(pod.id)).find((node) => node.name === name && node.online),
  );
const isNow = (what: string, id: string, look: (node: NodeSummary) => boolean) =>
  until(what, async () => {
    const node = await stack.client.nodes.get(pod.id, id);
    return look(node) ? node : undefined;
  });

describe("a machine", () => {
  it(
    "is refused with another card, joins with the right one, is watched, drained and removed, and stays out",
    async () => {
      const made = envelopeOf(await run("pods", "tokens", "create", "rack", "--uses", "1"));
      const { id, token } = made.data.join_token as { id: string; token: string };

      const wrong = joinAs("laptop", token, LAPTOP);
      expect(await wrong.ended).not.toBe(0);
      expect(wrong.stderr()).toContain("RTX 4090 Laptop GPU");
      expect(wrong.stderr()).toContain("gpu_mismatch");

      const right = joinAs("desktop", token, RTX_4090);
      const node = await nodeNamed("desktop");
      expect(node).toMatchObject({ gpu_type: "rtx-4090", quarantine: null, pod_id: pod.id });
      expect(node.inventory).toMatchObject({ driver: "560.35" });

      // Figures come each second while somebody looks.
      const seen = await isNow("figures come", node.id, ({ metrics }) => metrics !== null);
      expect(seen.metrics?.gpus).toEqual([
        {
          index: 0,
          busy_percent: 93,
          vram_used_mb: 9_000,
          vram_total_mb: 24_564,
          temperature_c: 61,
          power_w: 312.4,
        },
      ]);
      await isNow("newer ones come", node.id, ({ metrics }) => (metrics?.at ?? "") > (seen.metrics?.at ?? ""));
      const watched = await run("nodes", "watch", "desktop", "--count", "2");
      expect(envelopeOf(watched)).toMatchObject({ ok: true, data: { looks: 2 } });

      // The token was for one machine.
      const second = joinAs("another", token, RTX_4090);
      expect(await second.ended).not.toBe(0);
      expect(second.stderr()).toContain("join_token_used");
      for await (const each of stack.client.pods.joinTokens(pod.id)) {
        if (each.id === id) expect(each.uses).toBe(1);
      }

      expect(envelopeOf(await run("nodes", "drain", "desktop"))).toMatchObject({ data: { node: { draining: true } } });
      expect(envelopeOf(await run("nodes", "undrain", "desktop"))).toMatchObject({
        data: { node: { draining: false } },
      });
      const inUse = await run("pods", "rm", "rack", "--yes");
      expect(envelopeOf(inUse)).toMatchObject({ ok: false, error: { code: "pod_in_use" } });

      expect((await run("nodes", "rm", "desktop", "--yes")).code).toBe(0);
      // It is told to join again, which its token does not let it.
      expect(await right.ended).not.toBe(0);
      expect(right.stderr()).toContain("join_token_used");
      expect((await run("pods", "rm", "rack", "--yes")).code).toBe(0);
      expect((await stack.client.pods.list()).map(({ name }) => name)).toEqual(["default"]);
    },
    TEST_MS_MAX,
  );
});
