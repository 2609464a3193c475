import { WAIT_S_MAX } from "#contract/limits";

/**
 * Seconds of `Prefer: wait=N` (RFC 7240), at most WAIT_S_MAX; undefined when it is not asked for. A preference we do
 * not understand is ignored, as the RFC says.
 */
export function preferredWait(prefer: string | undefined): number | undefined {
  if (prefer === undefined) return undefined;
  for (const preference of prefer.split(/[,;]/)) {
    const match = /^\s*wait\s*=\s*"?([0-9]{1,9})"?\s*$/i.exec(preference);
    if (match?.[1] !== undefined) return Math.min(Number(match[1]), WAIT_S_MAX);
  }
  return undefined;
}
