import { describe, expect, it } from "vitest";
import { GPU_TYPES, GpuType, gpuTypeOf, plainGpuName } from "#contract/gpu-types";

describe("the type of a card", () => {
  // Names and MiB as nvidia-smi, torch and rocm-smi print them.
  it.each([
    ["Tesla T4", 15_360, "t4"],
    ["Tesla T4", 14_913, "t4"],
    ["NVIDIA A10G", 23_028, "a10g"],
    ["NVIDIA A10G", 22_516, "a10g"],
    ["NVIDIA A10", 24_564, "a10"],
    ["NVIDIA L4", 23_034, "l4"],
    ["NVIDIA L40S", 46_068, "l40s"],
    ["NVIDIA L40", 46_068, "l40"],
    ["NVIDIA A40", 45_634, "a40"],
    ["NVIDIA A100-SXM4-40GB", 40_960, "a100-40"],
    ["A100-PCIE-40GB", 40_536, "a100-40"],
    ["NVIDIA A100-SXM4-80GB", 81_920, "a100-80"],
    ["NVIDIA A100 80GB PCIe", 81_251, "a100-80"],
    ["NVIDIA H100 80GB HBM3", 81_559, "h100-80"],
    ["NVIDIA H100 PCIe", 81_559, "h100-80"],
    ["NVIDIA H100 NVL", 95_830, "h100-nvl"],
    ["NVIDIA H200", 143_771, "h200"],
    ["NVIDIA B200", 183_359, "b200"],
    ["Tesla V100-SXM2-16GB", 16_160, "v100-16"],
    ["Tesla V100-PCIE-32GB", 32_510, "v100-32"],
    ["NVIDIA GeForce RTX 3060", 12_288, "rtx-3060"],
    ["NVIDIA GeForce RTX 3080", 10_240, "rtx-3080"],
    ["NVIDIA GeForce RTX 3080", 12_288, "rtx-3080-12"],
    ["GeForce RTX 3090", 24_268, "rtx-3090"],
    ["NVIDIA GeForce RTX 3090 Ti", 24_564, "rtx-3090-ti"],
    ["NVIDIA GeForce RTX 4060 Ti", 8_188, "rtx-4060-ti"],
    ["NVIDIA GeForce RTX 4060 Ti", 16_380, "rtx-4060-ti-16"],
    ["NVIDIA GeForce RTX 4070 Ti SUPER", 16_376, "rtx-4070-ti-super"],
    ["NVIDIA GeForce RTX 4090", 24_564, "rtx-4090"],
    ["NVIDIA GeForce RTX 5090", 32_607, "rtx-5090"],
    ["NVIDIA GeForce RTX 5070 Ti", 16_303, "rtx-5070-ti"],
    ["NVIDIA RTX A6000", 49_140, "rtx-a6000"],
    ["RTX A4000", 16_376, "rtx-a4000"],
    ["NVIDIA RTX 6000 Ada Generation", 46_068, "rtx-6000-ada"],
    ["Quadro RTX 6000", 24_220, "quadro-rtx-6000"],
    ["NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97_887, "rtx-pro-6000"],
    ["AMD Instinct MI300X", 196_288, "mi300x"],
    ["AMD Instinct MI300X OAM", 196_288, "mi300x"],
  ])("%s with %i MiB is %s", (name, vram_mb, type) => {
    expect(gpuTypeOf({ name, vram_mb })).toBe(type);
  });

  it.each([
    ["a laptop's chip", "NVIDIA GeForce RTX 4090 Laptop GPU", 16_376],
    ["a slim laptop's chip", "NVIDIA GeForce RTX 3080 with Max-Q Design", 10_240],
    ["a slice of a card", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9_728],
    ["a slice that is called like the card", "NVIDIA H100 80GB HBM3", 10_240],
    ["a part that a hypervisor lends", "GRID A100D-40C", 40_960],
    ["a card whose memory was doubled", "NVIDIA GeForce RTX 4090", 49_140],
    ["a variant with less memory", "NVIDIA GeForce RTX 3060", 8_192],
    ["a card of which the driver tells no memory", "NVIDIA GeForce RTX 4090", 0],
    ["a card that is not in the table", "NVIDIA GeForce GT 710", 2_048],
    ["a name that a listed one begins with", "NVIDIA L4 Turbo", 23_034],
    ["nothing", "", 0],
  ])("%s is of none", (_, name, vram_mb) => {
    expect(gpuTypeOf({ name, vram_mb })).toBeNull();
  });

  it("is one of the workspace's own where it fits, before the table's", () => {
    const doubled = { name: "rtx-4090-48", vram_mb: 48 * 1024, matches: ["RTX 4090"] };
    expect(gpuTypeOf({ name: "NVIDIA GeForce RTX 4090", vram_mb: 49_140 }, [doubled])).toBe("rtx-4090-48");
    expect(gpuTypeOf({ name: "NVIDIA GeForce RTX 4090", vram_mb: 24_564 }, [doubled])).toBe("rtx-4090");
    const mine = { name: "my-t4", vram_mb: 16 * 1024, matches: ["NVIDIA T4"] };
    expect(gpuTypeOf({ name: "Tesla T4", vram_mb: 15_360 }, [mine])).toBe("my-t4");
  });
});

describe("the shipped table", () => {
  it("fits its own schema, each name once", () => {
    for (const type of GPU_TYPES) expect(GpuType.parse(type)).toEqual(type);
    expect(new Set(GPU_TYPES.map(({ name }) => name)).size).toBe(GPU_TYPES.length);
  });

  it("finds each type by each of its names at its nominal memory", () => {
    for (const { name, vram_mb, matches } of GPU_TYPES) {
      for (const match of matches) expect(gpuTypeOf({ name: match, vram_mb }), match).toBe(name);
    }
  });

  it("leaves no card between two types of the same name", () => {
    for (const one of GPU_TYPES) {
      for (const other of GPU_TYPES) {
        const shared = one.matches.map(plainGpuName).some((name) => other.matches.map(plainGpuName).includes(name));
        if (one.name === other.name || !shared) continue;
        // The same number of MiB must not be both.
        for (const vram_mb of [one.vram_mb * 0.88, one.vram_mb * 1.04]) {
          expect(gpuTypeOf({ name: one.matches[0] ?? "", vram_mb }), `${one.name} and ${other.name}`).not.toBe(
            other.name,
          );
        }
      }
    }
  });

  it("has the cards that are asked for most", () => {
    const vramGb = Object.fromEntries(GPU_TYPES.map(({ name, vram_mb }) => [name, vram_mb / 1024]));
    expect(vramGb).toMatchObject({
      t4: 16,
      a10g: 24,
      l4: 24,
      l40s: 48,
      "a100-40": 40,
      "a100-80": 80,
      "h100-80": 80,
      h200: 141,
      b200: 180,
      "rtx-3090": 24,
      "rtx-4090": 24,
      "rtx-5090": 32,
    });
  });
});
