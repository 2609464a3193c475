import { duration, textTable } from "#cli/text-table";
import type { PodCapacity, PodEndpoint, ReplicaCounts } from "#contract/replica";

const PHASES = ["placed", "preparing", "booting", "loading", "ready", "draining"] as const;
const HEADER = ["endpoint", "wanted", "needed", "has", "replicas", "waits", "because"];

/** How a pod stands, in lines for people. @param nowMs Unix ms */
export function capacityText(capacity: PodCapacity, nowMs: number): string[] {
  const { nodes, slots, containers_left, replicas, endpoints, endpoints_total } = capacity;
  const unlisted = endpoints_total - endpoints.length;
  return [
    `nodes     ${nodes.online} of ${nodes.total} online; new work goes to ${nodes.open}`,
    `slots     ${slots.taken} of ${slots.total} taken${slots.draining === 0 ? "" : `, ${slots.draining} of them draining`}; ` +
      `${slots.free} free${containers_left === null ? "" : `, with ${containers_left} containers left`}`,
    `replicas  ${countsText(replicas)}`,
    ...(endpoints.length === 0
      ? []
      : [
          "",
          ...textTable(
            HEADER,
            endpoints.map((each) => rowOf(each, nowMs)),
          ),
        ]),
    ...(unlisted === 0 ? [] : [`and ${unlisted} more`]),
  ];
}

function rowOf(endpoint: PodEndpoint, nowMs: number): string[] {
  const { endpoint_id, wanted, needed, have, replicas, waits_since } = endpoint;
  const waits = waits_since === null ? "" : duration(Math.max(0, nowMs - Date.parse(waits_since)));
  return [endpoint_id, String(wanted), String(needed), String(have), countsText(replicas), waits, reasonText(endpoint)];
}

function countsText(counts: ReplicaCounts): string {
  const some = PHASES.filter((phase) => counts[phase] > 0).map((phase) => `${counts[phase]} ${phase}`);
  return some.length === 0 ? "none" : some.join(", ");
}

function reasonText({ shortage, trials }: PodEndpoint): string {
  if (shortage === null) return trials === 0 ? "" : `a release is to be tried on other cards: ${trials}`;
  return shortage.error === null ? shortage.code : `${shortage.code}: ${shortage.error}`;
}
