/** What policies say in the same words. */

export const NO_MORE_ALLOWED = "max_replicas allows no more";

export function idleFor(timeoutMs: number): string {
  return `idle for ${timeoutMs / 1000} s`;
}
