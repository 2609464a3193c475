/** Changing an endpoint: its settings, and its releases by what they are imported from. */
import type { EndpointPatch } from "#contract/endpoint";
import type { JsonObject } from "#contract/exact-json";
import type { WorkspaceId } from "#contract/ids";
import { RELEASES_PER_ENDPOINT_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { Overrides } from "#contract/workflow";
import { isUniqueViolation } from "#worker/catalog/database";
import {
  type EndpointChange,
  type EndpointRow,
  type EndpointWithRelease,
  findRelease,
  type MadeRelease,
  updateEndpoint,
} from "#worker/catalog/endpoints";
import { findSource, type NewRelease } from "#worker/catalog/releases";
import { knownBuild } from "#worker/endpoints/chosen-build";
import { knownPods } from "#worker/endpoints/chosen-pods";
import { importedRelease, reimportedRelease } from "#worker/endpoints/import-release";
import { releaseGate } from "#worker/endpoints/object-words";
import { placeRelease } from "#worker/endpoints/place-release";
import { changedSettings } from "#worker/endpoints/settings";
import type { Env } from "#worker/env";
import type { Arrival } from "#worker/http/call";
import { tellObject } from "#worker/placement/apply-config";
import { ownEndpoint } from "#worker/placement/own-endpoint";

/** How often a change is tried again when another one came between reading and writing. */
const ROUNDS_MAX = 3;

/** What a change did. */
export interface ChangedEndpoint {
  /** As it is afterwards. */
  readonly found: EndpointWithRelease;
  /** The release that was made, or the one that says the same already; undefined when none was asked for. */
  readonly release: { readonly number: number; readonly isNew: boolean } | undefined;
}

/**
 * Changes an endpoint, again when somebody else did so meanwhile, and tells its object.
 * @param document the body as parsed: a workflow keeps every digit and every field
 * @throws Problem as imports do; release_limit, endpoint_not_found, unavailable
 */
export async function changeEndpoint(
  call: Arrival,
  workspaceId: WorkspaceId,
  name: string,
  patch: EndpointPatch,
  document: JsonObject,
): Promise<ChangedEndpoint> {
  const { env } = call;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const before = await ownEndpoint(env, workspaceId, name);
    const { endpoint } = before;
    const settings = changedSettings(endpoint.settings, patch.settings);
    const pods = patch.pods === undefined ? endpoint.pods : await knownPods(env, workspaceId, patch.pods);
    const overrides = patch.overrides ?? endpoint.overrides;
    const now = Date.now();
    const asked = await askedRelease(env, before, patch, document, overrides, now);
    const isActivated = asked?.made !== undefined && (await mayReplaceNow(env, before, patch));
    const isOther = asked !== undefined && asked.number !== endpoint.activeRelease;
    const isLater = patch.activate === false || (isOther && !isActivated);
    const change = {
      name: patch.name ?? endpoint.name,
      pods,
      settings,
      // Those of a release that is not active yet are kept with it, until it is.
      overrides: isLater ? endpoint.overrides : overrides,
      updatedAt: now,
    };
    const made = asked?.made === undefined ? undefined : { ...asked.made, activate: isActivated };
    if (!(await isChanged(env, endpoint, change, made))) continue;
    await tellObject(call, workspaceId, endpoint.id);
    const release = asked === undefined ? undefined : { number: asked.number, isNew: asked.made !== undefined };
    if (release === undefined || patch.activate === false) {
      return { found: await ownEndpoint(env, workspaceId, endpoint.id), release };
    }
    // Whether it waits is for the endpoint's object to say, which also ends what it waited for until now.
    const placement = { cause: "deploy", force: patch.force ?? false, choose: async () => release.number } as const;
    return { found: await placeRelease(call, workspaceId, endpoint.id, placement), release };
  }
  throw new Problem("unavailable", "The endpoint is being changed by others at the same time; try again.");
}

/** Whether a release that is made now may be the active one at once, with the same write. */
async function mayReplaceNow(env: Env, found: EndpointWithRelease, patch: EndpointPatch): Promise<boolean> {
  if (patch.activate === false) return false;
  if (patch.force === true) return true;
  const gate = await releaseGate(env, found, []);
  return gate?.isActiveProven === false;
}

interface AskedRelease {
  readonly number: number;
  /** Left out when release `number` says the same: a second one of it would only blur the history. */
  readonly made?: NewRelease;
}

/** The release that a change asks for; undefined when it asks for none. */
async function askedRelease(
  env: Env,
  { endpoint, release: active }: EndpointWithRelease,
  patch: EndpointPatch,
  document: JsonObject,
  overrides: Overrides,
  createdAt: number,
): Promise<AskedRelease | undefined> {
  const given = [patch.workflow, patch.overrides, patch.object_info, patch.view_comfy, patch.build, patch.smoke_test];
  if (given.every((field) => field === undefined)) return undefined;
  if (endpoint.newestRelease >= RELEASES_PER_ENDPOINT_MAX) {
    throw new Problem(
      "release_limit",
      `An endpoint may have ${RELEASES_PER_ENDPOINT_MAX} releases; go on in a new endpoint.`,
    );
  }
  const number = endpoint.newestRelease + 1;
  const plan = {
    endpointId: endpoint.id,
    number,
    createdAt,
    previous: active,
    build: patch.build === undefined ? active.build : await knownBuild(env, endpoint.workspaceId, patch.build),
    smokeTest: patch.smoke_test === undefined ? active.smokeTest : patch.smoke_test,
  };
  const made =
    patch.workflow === undefined
      ? await reimportedRelease(
          active,
          await findSource(env.CATALOG, endpoint.id, active.number),
          document,
          overrides,
          plan,
        )
      : await importedRelease(document, overrides, plan);
  if (made.row.digest === active.digest) return { number: active.number };
  const newest = await findRelease(env.CATALOG, endpoint.id, endpoint.newestRelease);
  return made.row.digest === newest?.release.digest ? { number: newest.release.number } : { number, made };
}

/** False when somebody else was first, whichever of the two writes notices. */
async function isChanged(
  env: Env,
  endpoint: EndpointRow,
  change: EndpointChange,
  made: MadeRelease | undefined,
): Promise<boolean> {
  try {
    return await updateEndpoint(env.CATALOG, endpoint, change, made);
  } catch (error) {
    if (isUniqueViolation(error)) return false;
    throw error;
  }
}
