import { describe, expect, it } from "vitest";
import { gpuUtilization, listGpus, parseGpus, visibleGpus } from "#gpu-agent/inventory";

const csv = `1, NVIDIA GeForce RTX 4090, GPU-bbbb, 24564, 560.35
0, NVIDIA H200, GPU-aaaa, 143771, 560.35
`;

describe("the inventory of GPUs", () => {
  it("is read from nvidia-smi, by index", async () => {
    const asked: string[][] = [];
    const gpus = await listGpus((program, args) => {
      asked.push([program, ...args]);
      return Promise.resolve(csv);
    });
    expect(gpus).toEqual([
      { index: 0, name: "NVIDIA H200", uuid: "GPU-aaaa", vram_mb: 143_771, driver: "560.35" },
      { index: 1, name: "NVIDIA GeForce RTX 4090", uuid: "GPU-bbbb", vram_mb: 24_564, driver: "560.35" },
    ]);
    expect(asked[0]?.[0]).toBe("nvidia-smi");
  });

  it("is empty without nvidia-smi", async () => {
    expect(await listGpus(() => Promise.reject(new Error("ENOENT")))).toEqual([]);
  });

  it("has null where the driver does not tell, and nothing for lines that are no GPU", () => {
    expect(parseGpus("0, GB10, GPU-c, [N/A], [N/A]\nNo devices were found\n\n")).toEqual([
      { index: 0, name: "GB10", uuid: "GPU-c", vram_mb: 0, driver: null },
    ]);
  });

  it("leaves out those that the agent was not given", () => {
    const gpus = parseGpus(csv);
    const indices = (visible: string | undefined) => visibleGpus(gpus, visible).map((gpu) => gpu.index);
    expect(indices(undefined)).toEqual([0, 1]);
    expect(indices("1")).toEqual([1]);
    expect(indices("GPU-bb, 0")).toEqual([1, 0]);
    expect(indices("0,7,1")).toEqual([0]);
    expect(indices("")).toEqual([]);
    expect(indices("-1")).toEqual([]);
  });

  it("tells how busy one GPU is, or that nobody knows", async () => {
    const gpu = { index: 0, name: "x", uuid: "GPU-a", vram_mb: 0, driver: null };
    expect(await gpuUtilization(gpu, () => Promise.resolve("37\n"))).toBe(37);
    expect(await gpuUtilization(gpu, () => Promise.resolve("[N/A]\n"))).toBeNull();
    expect(await gpuUtilization(gpu, () => Promise.reject(new Error("gone")))).toBeNull();
  });
});
