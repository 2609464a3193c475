/** How a node fares, as lines for a terminal: bars for what has an end, figures for the rest. */
import { progressBar } from "#cli/progress-bar";
import { byteSize, duration } from "#cli/text-table";
import type { NodeSummary } from "#contract/replica";

const LABEL_LENGTH = 9;
const NOTHING = "–";

/** Online, unused, draining, cordoned or quarantined: the worst that holds, and what else does. */
export function nodeState({ online, draining, cordoned, quarantine, unused_because }: NodeSummary): string {
  const more = [
    ...(quarantine === null ? [] : ["quarantined"]),
    ...(draining ? ["draining"] : []),
    ...(cordoned ? ["cordoned"] : []),
  ];
  if (!online) return ["offline", ...more].join(", ");
  return more.length > 0 ? more.join(", ") : unused_because === null ? "online" : "unused";
}

/** @param nowMs Unix ms */
export function nodeFrame(node: NodeSummary, nowMs: number): string[] {
  const { metrics, inventory } = node;
  const what = [node.gpu_type ?? (node.gpus.length === 0 ? "no GPU" : "unknown card"), inventory?.os, driverOf(node)];
  return [
    `${node.name}  ${node.id}  ${nodeState(node)}`,
    what.filter((each) => each !== null && each !== undefined).join("  "),
    ...(node.quarantine === null ? [] : [`quarantined since ${node.quarantine.since}: ${node.quarantine.reason}`]),
    ...(node.unused_because === null ? [] : [`gets nothing new: ${node.unused_because}`]),
    "",
    ...(metrics === null ? ["No figures yet; they come within a few seconds of asking."] : figureLines(metrics)),
    "",
    ...node.slots.map(({ slot, replica_id }) => labelled(`slot ${slot}`, replica_id ?? "free")),
    ...(metrics === null
      ? []
      : [`figures of ${metrics.at}, ${duration(Math.max(0, nowMs - Date.parse(metrics.at)))} ago`]),
  ];
}

function driverOf({ inventory, gpus }: NodeSummary): string | null {
  const driver = inventory?.driver ?? gpus.find((gpu) => gpu.driver !== null)?.driver ?? null;
  return driver === null ? null : `driver ${driver}`;
}

function figureLines(metrics: NonNullable<NodeSummary["metrics"]>): string[] {
  const { gpus, network_in_bytes_per_s: received, network_out_bytes_per_s: sent } = metrics;
  const disk = difference(metrics.disk_total_mb, metrics.disk_free_mb);
  return [
    ...gpus.flatMap((gpu) => {
      const heat = gpu.temperature_c === null ? "" : `  ${gpu.temperature_c} °C`;
      const power = gpu.power_w === null ? "" : `  ${Math.round(gpu.power_w)} W`;
      return [
        `${percent(`GPU ${gpu.index}`, gpu.busy_percent)}${heat}${power}`,
        share("  VRAM", gpu.vram_used_mb, gpu.vram_total_mb),
      ];
    }),
    percent("CPU", metrics.cpu_percent),
    share("memory", metrics.memory_used_mb, metrics.memory_total_mb),
    share("disk", disk, metrics.disk_total_mb),
    labelled("network", `in ${rate(received)}  out ${rate(sent)}`),
  ];
}

/** One line of the figures, for logs. */
export function figureText({ metrics }: NodeSummary): string {
  if (metrics === null) return "no figures yet";
  const { gpus, cpu_percent, memory_used_mb, memory_total_mb, disk_free_mb } = metrics;
  return [
    metrics.at,
    ...gpus.map(
      (gpu) =>
        `gpu${gpu.index} ${whole(gpu.busy_percent, "%")} ${amountOf(gpu.vram_used_mb, gpu.vram_total_mb)} ${whole(gpu.temperature_c, "°C")}`,
    ),
    `cpu ${whole(cpu_percent, "%")}`,
    `memory ${amountOf(memory_used_mb, memory_total_mb)}`,
    `disk ${disk_free_mb === null ? NOTHING : `${gigabytes(disk_free_mb)} GB`} free`,
    `in ${rate(metrics.network_in_bytes_per_s)}`,
    `out ${rate(metrics.network_out_bytes_per_s)}`,
  ].join("  ");
}

function labelled(label: string, text: string): string {
  return `${label.padEnd(LABEL_LENGTH)} ${text}`;
}

function percent(label: string, value: number | null): string {
  return value === null
    ? labelled(label, NOTHING)
    : labelled(label, `${progressBar(value / 100)} ${String(Math.round(value)).padStart(3)} %`);
}

function share(label: string, used: number | null, total: number | null): string {
  if (used === null || total === null || total === 0) return labelled(label, amountOf(used, total));
  return labelled(label, `${progressBar(Math.min(1, used / total))} ${amountOf(used, total)}`);
}

/** MiB as GB, as cards are called: 24,564 MiB is a card of 24 GB. */
function amountOf(used: number | null, total: number | null): string {
  if (used === null && total === null) return NOTHING;
  if (total === null) return `${gigabytes(used ?? 0)} GB`;
  return `${used === null ? "?" : gigabytes(used)} of ${gigabytes(total)} GB`;
}

function gigabytes(mebibytes: number): string {
  return (mebibytes / 1024).toFixed(1);
}

function difference(total: number | null, free: number | null): number | null {
  return total === null || free === null ? null : Math.max(0, total - free);
}

function rate(bytesPerS: number | null): string {
  return bytesPerS === null ? NOTHING : `${byteSize(Math.round(bytesPerS))}/s`;
}

function whole(value: number | null, unit: string): string {
  return value === null ? NOTHING : `${Math.round(value)}${unit}`;
}
