import type { WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { base64url, hmac, sameText, signingKey } from "#worker/auth/digest";

/** Which list a cursor belongs to; one list's cursor means nothing to another. */
export type CursorKind =
  | "jobs"
  | "endpoints"
  | "keys"
  | "queue"
  | "dead"
  | "operations"
  | "usage"
  | "deliveries"
  | "builds"
  | "models"
  | "releases"
  | "join-tokens";

const MAC_BYTES = 12;

/**
 * A place in a list, signed for this workspace and list: `<place>.<mac>`.
 * @param place an id, a slug, or several of them between colons
 * @param filters what the list was asked for, as text: the same place in another list is another place
 */
export async function makeCursor(
  secret: string,
  kind: CursorKind,
  workspaceId: WorkspaceId,
  place: string,
  filters = "",
): Promise<string> {
  const mac = await hmac(await signingKey(secret, "cursor"), `${kind}\n${workspaceId}\n${place}\n${filters}`);
  return base64url(new TextEncoder().encode(`${place}.${base64url(mac.subarray(0, MAC_BYTES))}`));
}

/**
 * The place a cursor names; undefined without one.
 * @throws Problem invalid_cursor when this list, with these filters, did not give it out
 */
export async function readCursor(
  secret: string,
  kind: CursorKind,
  workspaceId: WorkspaceId,
  cursor: string | undefined,
  filters = "",
): Promise<string | undefined> {
  if (cursor === undefined) return undefined;
  const place = placeOf(cursor);
  if (place === undefined || !sameText(await makeCursor(secret, kind, workspaceId, place, filters), cursor)) {
    throw new Problem(
      "invalid_cursor",
      "The cursor is not one this list gave out; start again without it, or with the filters it was given for.",
    );
  }
  return place;
}

function placeOf(cursor: string): string | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    const text = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
    return /^([a-z0-9_:+.-]+)\.[A-Za-z0-9_-]+$/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}
