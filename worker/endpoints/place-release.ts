/**
 * Giving a release its place: as the active one, or as a canary. The endpoint's object says whether that may be now, or
 * waits until the release has run on a GPU; then the object tells the catalog by itself.
 */
import type { NewCanary } from "#contract/canary";
import type { EndpointId, WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import type { WishDecision } from "#durable-objects/endpoint/release-gate";
import {
  activateRelease,
  type EndpointRow,
  type EndpointWithRelease,
  findRelease,
  setCanary,
} from "#worker/catalog/endpoints";
import type { ActivationCause, ReleaseRow } from "#worker/catalog/releases";
import type { Env } from "#worker/env";
import type { Arrival } from "#worker/http/call";
import { isUnavailable } from "#worker/http/error-handler";
import { applyConfig, tellObject } from "#worker/placement/apply-config";
import { ownEndpoint } from "#worker/placement/own-endpoint";
import { askTold } from "#worker/placement/told-endpoint";

/** How often a change is tried again when another one came between reading and writing. */
const ROUNDS_MAX = 5;

export interface Placement {
  /** The release's number; asked again when the endpoint has changed since it was read. */
  readonly choose: (endpoint: EndpointRow) => Promise<number>;
  readonly cause: ActivationCause;
  readonly force: boolean;
  /** It gets a part of the new jobs; left out: it becomes the active one. */
  readonly canary?: NewCanary;
}

/**
 * Gives a release its place, at once or when it is ready, whatever others change meanwhile.
 * @returns the endpoint as it is then
 * @throws Problem endpoint_not_found, release_not_found, unavailable
 */
export async function placeRelease(
  call: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  { choose, cause, force, canary }: Placement,
): Promise<EndpointWithRelease> {
  return changed(call, workspaceId, name, async (found) => {
    const { env } = call;
    const { endpoint } = found;
    const number = await choose(endpoint);
    const release = number === endpoint.activeRelease ? found.release : await ownRelease(env, endpoint.id, number);
    const decision = await decisionOf(env, found, number, { cause, force, canary });
    if (decision !== "now") return decision === "again" ? "again" : "unchanged";
    const isDone =
      canary === undefined
        ? await activateRelease(env.CATALOG, endpoint, release, cause, Date.now())
        : await setCanary(env.CATALOG, endpoint, { ...canary, release: number }, Date.now());
    return isDone ? "changed" : "again";
  });
}

/** What the object says. One that does not answer stops nobody who uses force, and nobody who wants nothing changed. */
async function decisionOf(
  env: Env,
  found: EndpointWithRelease,
  release: number,
  { cause, force, canary }: Omit<Placement, "choose" | "canary"> & { readonly canary: NewCanary | undefined },
): Promise<WishDecision> {
  const { id, workspaceId, activeRelease } = found.endpoint;
  const wish = { release, replaces: activeRelease, cause, force, canary: canary ?? null };
  try {
    const { decision } = await askTold(env, found, "repeatable", (object) => object.wishRelease(workspaceId, wish));
    // The object has not heard of the last activation, or has just made one that the catalog was not read after.
    if (decision === "again") await applyConfig(env, workspaceId, id);
    return decision;
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    if (release === activeRelease) return "active";
    if (force) return "now";
    throw error;
  }
}

/**
 * Changes an endpoint, again when somebody else did so meanwhile, and tells its object.
 * @returns the endpoint as it is then
 */
export async function changed(
  call: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  change: (found: EndpointWithRelease) => Promise<"changed" | "unchanged" | "again">,
): Promise<EndpointWithRelease> {
  const { env } = call;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const found = await ownEndpoint(env, workspaceId, name);
    const outcome = await change(found);
    if (outcome === "again") continue;
    if (outcome === "unchanged") return found;
    await tellObject(call, workspaceId, found.endpoint.id);
    return ownEndpoint(env, workspaceId, found.endpoint.id);
  }
  throw new Problem("unavailable", "The endpoint is being changed by others at the same time; try again.");
}

export async function ownRelease(env: Env, endpointId: EndpointId, number: number): Promise<ReleaseRow> {
  const found = await findRelease(env.CATALOG, endpointId, number);
  if (found === undefined) throw new Problem("release_not_found", `The endpoint has no release ${number}.`);
  return found.release;
}
