/** What an hour of a card costs the workspace: as its pod says, else as the workspace does, else as shipped. */
import type { PodId, WorkspaceId } from "#contract/ids";
import { selectGpuTypes } from "#worker/catalog/gpu-types";
import { selectPodPrices } from "#worker/catalog/pods";

/** @returns dollars for an hour of that type of card in that pod; null where the card has no name, or its type is gone */
export type CardPrice = (podId: PodId, gpuType: string | null) => number | null;

/** @param podIds the pods that will be asked about; one that was deleted keeps the prices it had */
export async function cardPrices(
  database: D1Database,
  workspaceId: WorkspaceId,
  podIds: readonly PodId[],
): Promise<CardPrice> {
  const [types, pods] = await Promise.all([
    selectGpuTypes(database, workspaceId),
    selectPodPrices(database, workspaceId, podIds),
  ]);
  const listed = new Map<string, number>(types.map(({ name, price_per_hour }) => [name, price_per_hour]));
  const own = new Map(pods.map(({ id, prices }) => [id, new Map(Object.entries(prices))]));
  return (podId, gpuType) => (gpuType === null ? null : (own.get(podId)?.get(gpuType) ?? listed.get(gpuType) ?? null));
}
