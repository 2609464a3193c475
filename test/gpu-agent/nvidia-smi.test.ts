/** Against a program that answers, fails and hangs as nvidia-smi does. */
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listGpus, parseSlices, type RunProgram, runProgram, visibleGpus } from "#gpu-agent/inventory";
import { MachineMeter } from "#gpu-agent/machine-meter";
import { until } from "#test/until";

const A100 = "0, NVIDIA A100-SXM4-80GB, GPU-aaaa, 81920, 550.54";
const RTX = "1, NVIDIA GeForce RTX 4090, GPU-bbbb, 24564, 550.54";
const PLAIN_LIST = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-bbbb)`;
const CUT_UP_LIST = `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 1g.10gb+me  Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-bbbb)`;
const FIGURES = `0, [N/A], 11000, 81920, 44, 98.20
1, 93, 9000, 24564, 61, [Not Supported]`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-smi-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Writes the program. @returns runs it in the place of the machine's own */
async function smi(script: string): Promise<RunProgram> {
  const path = join(folder, "nvidia-smi");
  await writeFile(path, `#!/bin/sh\necho "$*" >> ${folder}/calls\n${script}`);
  await chmod(path, 0o755);
  return (program, args) => runProgram(program === "nvidia-smi" ? path : program, args);
}

const answers = (cards: string, list: string, figures: string) => `
case "$*" in
  *driver_version*) cat <<'END'
${cards}
END
  ;;
  -L) cat <<'END'
${list}
END
  ;;
  *temperature.gpu*) cat <<'END'
${figures}
END
  ;;
esac
`;

/** How often it was asked for figures. */
const asked = async () =>
  (await readFile(join(folder, "calls"), "utf8")).split("\n").filter((line) => line.includes("temperature")).length;

describe("the cards of a machine", () => {
  it("are several, as the program lists them", async () => {
    const runner = await smi(answers(`${RTX}\n${A100}`, PLAIN_LIST, ""));
    expect((await listGpus(runner)).map(({ index, name, vram_mb }) => [index, name, vram_mb])).toEqual([
      [0, "NVIDIA A100-SXM4-80GB", 81_920],
      [1, "NVIDIA GeForce RTX 4090", 24_564],
    ]);
  });

  it("are the slices of one that is cut up, each named by its own id, and of no other memory than its own", async () => {
    const gpus = await listGpus(await smi(answers(`${A100}\n${RTX}`, CUT_UP_LIST, "")));
    expect(gpus.map(({ index, name, uuid, vram_mb }) => [index, name, uuid, vram_mb])).toEqual([
      [0, "NVIDIA A100-SXM4-80GB MIG 3g.40gb", "MIG-1111", 40_960],
      [0, "NVIDIA A100-SXM4-80GB MIG 1g.10gb+me", "MIG-2222", 10_240],
      [1, "NVIDIA GeForce RTX 4090", "GPU-bbbb", 24_564],
    ]);
    expect(visibleGpus(gpus, "MIG-2222").map(({ uuid }) => uuid)).toEqual(["MIG-2222"]);
  });

  it("are slices also as older drivers name them", () => {
    const text = "GPU 2: A100 (UUID: GPU-c)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-c/1/0)";
    expect(parseSlices(text)).toEqual([{ index: 2, profile: "1g.5gb", gib: 5, uuid: "MIG-GPU-c/1/0" }]);
  });

  it("are none, with the reason, where the driver does not answer to the program", async () => {
    const said: string[] = [];
    const failing = await smi(
      "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'\nexit 9",
    );
    expect(await listGpus(failing, (reason) => said.push(reason))).toEqual([]);
    expect(said).toEqual([expect.stringContaining("could not communicate with the NVIDIA driver")]);
  });

  it("are none, without a word, where there is no such program", async () => {
    const said: string[] = [];
    expect(
      await listGpus(
        () => runProgram(join(folder, "nothing"), []),
        (reason) => said.push(reason),
      ),
    ).toEqual([]);
    expect(said).toEqual([]);
  });
});

describe("the figures of a machine", () => {
  const meterOf = async (script: string, list = PLAIN_LIST) => {
    const gpus = await listGpus(await smi(answers(`${A100}\n${RTX}`, list, "")));
    return new MachineMeter({ gpus, folder, runner: await smi(script) });
  };

  it("are null where the driver says [N/A], card by card", async () => {
    const meter = await meterOf(answers("", "", FIGURES));
    await until("they are there", async () => (await meter.measure()).gpus[1]?.busy_percent === 93 || undefined);
    expect((await meter.measure()).gpus).toEqual([
      { index: 0, busy_percent: null, vram_used_mb: 11_000, vram_total_mb: 81_920, temperature_c: 44, power_w: 98.2 },
      { index: 1, busy_percent: 93, vram_used_mb: 9_000, vram_total_mb: 24_564, temperature_c: 61, power_w: null },
    ]);
  });

  it("say of a slice no more than is known: its card is warm, and how full the slice is the driver does not tell", async () => {
    const meter = await meterOf(answers("", "", FIGURES), CUT_UP_LIST);
    await until("they are there", async () => (await meter.measure()).gpus[2]?.busy_percent === 93 || undefined);
    expect((await meter.measure()).gpus[1]).toEqual({
      index: 0,
      busy_percent: null,
      vram_used_mb: null,
      vram_total_mb: 10_240,
      temperature_c: 44,
      power_w: 98.2,
    });
  });

  it("go on without the GPUs while the program hangs, and it is not started a second time beside itself", async () => {
    const meter = await meterOf(
      `trap '' TERM\nwhile [ ! -e ${folder}/go ]; do sleep 0.05; done\n${answers("", "", FIGURES)}`,
    );
    for (let look = 0; look < 3; look += 1) {
      const { gpus, memory_total_mb } = await meter.measure();
      expect(gpus.map(({ temperature_c }) => temperature_c)).toEqual([null, null]);
      expect(memory_total_mb).toBeGreaterThan(0);
    }
    await until("it has begun", async () => (await asked()) > 0 || undefined);
    expect(await asked()).toBe(1);
    await writeFile(join(folder, "go"), "");
    await until(
      "they come when it answers",
      async () => (await meter.measure()).gpus[1]?.temperature_c === 61 || undefined,
    );
  });

  it("forget what a program said that fails now", async () => {
    const meter = await meterOf(`[ -e ${folder}/sick ] && exit 15\n${answers("", "", FIGURES)}`);
    await until("they are there", async () => (await meter.measure()).gpus[1]?.temperature_c === 61 || undefined);
    await writeFile(join(folder, "sick"), "");
    await until("they are gone", async () => (await meter.measure()).gpus[1]?.temperature_c === null || undefined);
  });
});
