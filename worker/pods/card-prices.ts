/** What an hour of a card costs the workspace: as its pod says, else as the workspace does, else as shipped. */
import type { PodId, WorkspaceId } from "#contract/ids";
import { selectGpuTypes } from "#worker/catalog/gpu-types";
import { selectPods } from "#worker/catalog/pods";

/** @returns dollars for an hour of that type of card in that pod; null where the card has no name, or its type is gone */
export type CardPrice = (podId: PodId, gpuType: string | null) => number | null;

export async function cardPrices(database: D1Database, workspaceId: WorkspaceId): Promise<CardPrice> {
  const [types, pods] = await Promise.all([selectGpuTypes(database, workspaceId), selectPods(database, workspaceId)]);
  const listed = new Map<string, number>(types.map(({ name, price_per_hour }) => [name, price_per_hour]));
  const own = new Map(pods.map(({ id, settings }) => [id, new Map(Object.entries(settings.prices))]));
  return (podId, gpuType) => (gpuType === null ? null : (own.get(podId)?.get(gpuType) ?? listed.get(gpuType) ?? null));
}
