/** Whether a node's poll is the latest one: polls overtake each other, and agents start anew. Pure. */
import type { PollOrder } from "#contract/agent";

/**
 * - `latest`: what it says counts.
 * - `late`: a newer poll of the same agent was heard already; what this one says of its replicas is over.
 * - `displaced`: an agent that started later speaks for the node now. This one is dead and its poll was long on its way,
 *   or it lives beside the other with a copy of the same session.
 */
export type PollAge = "latest" | "late" | "displaced";

/** @param last the latest poll heard; null when none said its order. A poll without an order is from an older agent. */
export function pollAge(order: PollOrder | undefined, last: PollOrder | null): PollAge {
  if (order === undefined || last === null || order.start > last.start) return "latest";
  if (order.start < last.start) return "displaced";
  return order.seq < last.seq ? "late" : "latest";
}
