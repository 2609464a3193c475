/**
 * Types of cards: what they are called, how much they hold, what an hour of one costs, and what they suit.
 *
 * The prices are dollars for one GPU-hour as somebody pays who rents the card by the hour, rounded. They are there so
 * that figures of cost are of the right size from the first day; docs/pods.md names their sources. A workspace sets its
 * own, and a pod too: who owns the card pays for electricity.
 */
import * as z from "zod";
import { GpuTypeName } from "#contract/replica";

/** When the shipped prices were read. */
export const GPU_PRICES_AS_OF = "2026-11-21";

/** How far above its nominal memory a card may report. */
const VRAM_ABOVE = 1.04;
/**
 * How far below it may: error correction takes a sixteenth of GDDR (a T4 reports 15,360 of 16,384 MiB), the driver and
 * the CUDA context some more of what a program sees. The next smaller variant of any card is further away.
 */
const VRAM_BELOW = 0.88;

/** A card may be known under so many names. */
export const GPU_MATCHES_MAX = 50;

export const GpuType = z
  .object({
    name: GpuTypeName,
    title: z.string().min(1).max(100),
    vram_mb: z.int().min(1).max(10_000_000).meta({ description: "Nominal memory in MiB" }),
    price_per_hour: z.number().min(0).max(1_000).meta({ description: "US dollars for one GPU-hour" }),
    bandwidth_gb_s: z
      .int()
      .min(0)
      .max(1_000_000)
      .nullable()
      .meta({ description: "Bandwidth of its memory, GB/s: what diffusion waits for; null: not known" }),
    suits: z.string().max(500).meta({ description: "What it is good for, in words" }),
    matches: z.array(z.string().min(1).max(200)).min(1).max(GPU_MATCHES_MAX).meta({
      description:
        "Names that drivers give the card, as nvidia-smi and torch say them. Compared without regard to case, hyphens and the maker's name",
    }),
  })
  .meta({ id: "GpuType" });
export type GpuType = z.infer<typeof GpuType>;

/** What of a card tells its type. */
export interface SeenGpu {
  /** As the driver says it: `NVIDIA GeForce RTX 4090`. */
  readonly name: string;
  /** MiB; 0 when the driver does not tell. */
  readonly vram_mb: number;
}

const SMALL = "SD 1.5, SDXL with offloading; no Flux";
const SDXL = "SD 1.5 and SDXL; Flux only quantised to 4 bits (GGUF, NF4)";
const SIXTEEN = "SDXL at ease, Flux in FP8 or GGUF, short clips of small video models";
const TWENTY_FOUR = "SDXL, Flux in FP8, Wan and Hunyuan video in FP8 or with offloading";
const THIRTY_TWO = "Flux and Qwen-Image in FP8 with room for LoRAs and ControlNet, video in FP8";
const FORTY_EIGHT = "Flux and Qwen-Image in BF16, Wan 14B video in FP8, several models at once";
const EIGHTY = "everything in BF16: Flux, Qwen-Image, Wan 14B and Hunyuan video, batches";
const HUGE = "the largest video models in BF16, long clips, several workflows' weights side by side";

type Row = readonly [
  name: string,
  title: string,
  vramGib: number,
  pricePerHour: number,
  bandwidthGbS: number,
  suits: string,
  ...matches: string[],
];

/** GiB, dollars per hour, GB/s. A title is always a name of the card too. */
const rows: readonly Row[] = [
  // Turing and Volta
  ["t4", "Tesla T4", 16, 0.53, 320, SDXL],
  ["v100-16", "Tesla V100 16 GB", 16, 0.2, 900, SDXL, ...v100Names("16GB")],
  ["v100-32", "Tesla V100 32 GB", 32, 0.35, 900, TWENTY_FOUR, ...v100Names("32GB")],
  ["rtx-2080-ti", "RTX 2080 Ti", 11, 0.09, 616, SMALL],
  ["quadro-rtx-6000", "Quadro RTX 6000", 24, 0.2, 672, SIXTEEN],
  ["quadro-rtx-8000", "Quadro RTX 8000", 48, 0.25, 672, TWENTY_FOUR],
  // Ampere, consumer
  ["rtx-3060", "RTX 3060", 12, 0.06, 360, SDXL],
  ["rtx-3060-ti", "RTX 3060 Ti", 8, 0.06, 448, SMALL],
  ["rtx-3070", "RTX 3070", 8, 0.08, 448, SMALL],
  ["rtx-3070-ti", "RTX 3070 Ti", 8, 0.09, 608, SMALL],
  ["rtx-3080", "RTX 3080", 10, 0.12, 760, SMALL],
  ["rtx-3080-12", "RTX 3080 12 GB", 12, 0.13, 912, SDXL, "RTX 3080"],
  ["rtx-3080-ti", "RTX 3080 Ti", 12, 0.14, 912, SDXL],
  ["rtx-3090", "RTX 3090", 24, 0.22, 936, TWENTY_FOUR],
  ["rtx-3090-ti", "RTX 3090 Ti", 24, 0.27, 1008, TWENTY_FOUR],
  // Ampere, workstation and data centre
  ["rtx-a4000", "RTX A4000", 16, 0.17, 448, SIXTEEN],
  ["rtx-a4500", "RTX A4500", 20, 0.19, 640, SIXTEEN],
  ["rtx-a5000", "RTX A5000", 24, 0.22, 768, TWENTY_FOUR],
  ["rtx-a6000", "RTX A6000", 48, 0.33, 768, FORTY_EIGHT],
  ["a10", "A10", 24, 0.75, 600, TWENTY_FOUR],
  ["a10g", "A10G", 24, 1.01, 600, TWENTY_FOUR],
  ["a30", "A30", 24, 0.5, 933, TWENTY_FOUR],
  ["a40", "A40", 48, 0.44, 696, FORTY_EIGHT],
  ["a100-40", "A100 40 GB", 40, 1, 1555, FORTY_EIGHT, "A100-SXM4-40GB", "A100-PCIE-40GB", "A100-SXM-40GB"],
  ["a100-80", "A100 80 GB", 80, 1.39, 2039, EIGHTY, "A100-SXM4-80GB", "A100 80GB PCIe", "A100-SXM-80GB"],
  // Ada, consumer
  ["rtx-4060", "RTX 4060", 8, 0.07, 272, SMALL],
  ["rtx-4060-ti", "RTX 4060 Ti", 8, 0.08, 288, SMALL],
  ["rtx-4060-ti-16", "RTX 4060 Ti 16 GB", 16, 0.1, 288, SIXTEEN, "RTX 4060 Ti"],
  ["rtx-4070", "RTX 4070", 12, 0.12, 504, SDXL],
  ["rtx-4070-super", "RTX 4070 SUPER", 12, 0.13, 504, SDXL],
  ["rtx-4070-ti", "RTX 4070 Ti", 12, 0.15, 504, SDXL],
  ["rtx-4070-ti-super", "RTX 4070 Ti SUPER", 16, 0.17, 672, SIXTEEN],
  ["rtx-4080", "RTX 4080", 16, 0.2, 717, SIXTEEN],
  ["rtx-4080-super", "RTX 4080 SUPER", 16, 0.21, 736, SIXTEEN],
  ["rtx-4090", "RTX 4090", 24, 0.34, 1008, TWENTY_FOUR],
  ["rtx-4090-d", "RTX 4090 D", 24, 0.32, 1008, TWENTY_FOUR],
  // Ada, workstation and data centre
  ["rtx-4000-ada", "RTX 4000 Ada", 20, 0.2, 360, SIXTEEN, "RTX 4000 Ada Generation", "RTX 4000 SFF Ada Generation"],
  ["rtx-5000-ada", "RTX 5000 Ada", 32, 0.5, 576, THIRTY_TWO, "RTX 5000 Ada Generation"],
  ["rtx-6000-ada", "RTX 6000 Ada", 48, 0.74, 960, FORTY_EIGHT, "RTX 6000 Ada Generation"],
  ["l4", "L4", 24, 0.44, 300, TWENTY_FOUR],
  ["l40", "L40", 48, 0.69, 864, FORTY_EIGHT],
  ["l40s", "L40S", 48, 0.79, 864, FORTY_EIGHT],
  // Hopper
  [
    "h100-80",
    "H100 80 GB",
    80,
    2.69,
    3350,
    EIGHTY,
    "H100 80GB HBM3",
    "H100 80GB HBM2e",
    "H100 PCIe",
    "H100 SXM5 80GB",
    "H100",
  ],
  ["h100-nvl", "H100 NVL", 94, 2.59, 3900, EIGHTY],
  ["h200", "H200", 141, 3.59, 4800, HUGE, "H200 NVL"],
  ["gh200", "GH200", 96, 1.99, 4000, EIGHTY, "GH200 480GB", "GH200 96GB"],
  // Blackwell
  ["rtx-5060-ti-16", "RTX 5060 Ti 16 GB", 16, 0.12, 448, SIXTEEN, "RTX 5060 Ti"],
  ["rtx-5070", "RTX 5070", 12, 0.15, 672, SDXL],
  ["rtx-5070-ti", "RTX 5070 Ti", 16, 0.2, 896, SIXTEEN],
  ["rtx-5080", "RTX 5080", 16, 0.25, 960, SIXTEEN],
  ["rtx-5090", "RTX 5090", 32, 0.69, 1792, THIRTY_TWO],
  [
    "rtx-pro-6000",
    "RTX PRO 6000 Blackwell",
    96,
    0.89,
    1792,
    EIGHTY,
    "RTX PRO 6000 Blackwell Workstation Edition",
    "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
    "RTX PRO 6000 Blackwell Server Edition",
  ],
  ["b200", "B200", 180, 5.98, 8000, HUGE],
  // AMD
  ["rx-7900-xtx", "Radeon RX 7900 XTX", 24, 0.25, 960, TWENTY_FOUR],
  ["mi300x", "Instinct MI300X", 192, 1.99, 5300, HUGE, "Instinct MI300X OAM", "MI300X"],
];

function v100Names(memory: "16GB" | "32GB"): string[] {
  return [
    `Tesla V100-SXM2-${memory}`,
    `Tesla V100-SXM3-${memory}`,
    `Tesla V100-PCIE-${memory}`,
    `Tesla V100S-PCIE-${memory}`,
    `Tesla V100-DGXS-${memory}`,
    `Tesla V100-FHHL-${memory}`,
  ];
}

/** The shipped table. */
export const GPU_TYPES: readonly GpuType[] = rows.map(([name, title, gib, price, bandwidth, suits, ...more]) => ({
  name,
  title,
  vram_mb: gib * 1024,
  price_per_hour: price,
  bandwidth_gb_s: bandwidth,
  suits,
  matches: [...new Set([title, ...more])],
}));

/** What of a type tells which cards are of it. */
export type GpuMatch = Pick<GpuType, "name" | "vram_mb" | "matches">;

/**
 * Which type a card is of: one of its names and its memory have to fit, because an A100 has 40 GB or 80, and a card whose
 * memory was doubled is another card. A laptop's chip, a slice of a card (MIG, vGPU) and a card nobody listed are of none.
 * @param own the workspace's own types; they come before the shipped ones
 * @returns null when it is of none, or its driver does not tell its memory
 */
export function gpuTypeOf(gpu: SeenGpu, own: readonly GpuMatch[] = []): GpuTypeName | null {
  const name = plainGpuName(gpu.name);
  const holds = (type: GpuMatch): boolean =>
    gpu.vram_mb <= type.vram_mb * VRAM_ABOVE && gpu.vram_mb >= type.vram_mb * VRAM_BELOW;
  const named = own.find((type) => holds(type) && type.matches.some((match) => plainGpuName(match) === name));
  return (named ?? shippedByName.get(name)?.find(holds))?.name ?? null;
}

/** The shipped types by each of their names: nodes are looked up with every heartbeat. */
const shippedByName = new Map<string, GpuType[]>();
for (const type of GPU_TYPES) {
  for (const name of new Set(type.matches.map(plainGpuName))) {
    shippedByName.set(name, [...(shippedByName.get(name) ?? []), type]);
  }
}

/** A card's name without what drivers write in different ways: case, hyphens, the maker, the family. */
export function plainGpuName(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/\((?:tm|r)\)/g, " ")
    .replaceAll(/[^a-z0-9.]+/g, " ")
    .replaceAll(/\b(?:nvidia|geforce|tesla|amd)\b/g, " ")
    .replaceAll(/ +/g, " ")
    .trim();
}
