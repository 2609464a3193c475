import type { WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import { base64url, hmac, sameText, signingKey } from "#worker/auth/digest";

/** Which list a cursor belongs to; one list's cursor means nothing to another. */
export type CursorKind = "jobs" | "endpoints" | "keys";

const MAC_BYTES = 12;

/** A place in a list, signed for this workspace and list: `<place>.<mac>`. `place` is an id or a slug. */
export async function makeCursor(
  secret: string,
  kind: CursorKind,
  workspaceId: WorkspaceId,
  place: string,
): Promise<string> {
  const mac = await hmac(await signingKey(secret, "cursor"), `${kind}\n${workspaceId}\n${place}`);
  return base64url(new TextEncoder().encode(`${place}.${base64url(mac.subarray(0, MAC_BYTES))}`));
}

/**
 * The place a cursor names; undefined without one.
 * @throws Problem invalid_cursor when this list did not give it out
 */
export async function readCursor(
  secret: string,
  kind: CursorKind,
  workspaceId: WorkspaceId,
  cursor: string | undefined,
): Promise<string | undefined> {
  if (cursor === undefined) return undefined;
  const place = placeOf(cursor);
  if (place === undefined || !sameText(await makeCursor(secret, kind, workspaceId, place), cursor)) {
    throw new Problem("invalid_cursor", "The cursor is not one this list gave out; start again without it.");
  }
  return place;
}

function placeOf(cursor: string): string | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    const text = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
    return /^([a-z0-9_-]+)\.[A-Za-z0-9_-]+$/.exec(text)?.[1];
  } catch {
    return undefined;
  }
}
