import { JobId } from "#contract/ids";
import { Lane } from "#contract/job";
import type { QueuePlace } from "#durable-objects/endpoint/rpc";

/** A place in a queue as a cursor holds it: lane, rank and job between colons. */
export function textOfPlace({ lane, rank, id }: QueuePlace): string {
  return `${lane}:${rank}:${id}`;
}

/** Reads it back. Cursors are signed, so it is one that {@link textOfPlace} wrote. */
export function placeOfText(text: string): QueuePlace {
  const [lane, rank, id] = text.split(":");
  return { lane: Lane.parse(lane), rank: Number(rank), id: JobId.parse(id) };
}
