import type { CanaryArm } from "#contract/canary";
import type { Endpoint } from "#contract/endpoint";

/** An endpoint's canary for people: what it gets, and how it does beside the active release. */
export function canaryLines({ slug, release, canary }: Endpoint): string[] {
  if (canary === null) return [`${slug} has no canary: new jobs run on release ${release.number}.`];
  const { results } = canary;
  const part = `${Math.round(canary.weight * 1_000) / 10} % of the new jobs`;
  const first =
    results?.state === "rolled_back"
      ? `canary: release ${canary.release} was rolled back at ${results.ended_at}: ${results.reason}`
      : `canary: release ${canary.release} gets ${part} since ${canary.since}`;
  if (results === null) return [first];
  return [first, `  canary: ${armText(results.canary)}`, `  active: ${armText(results.active)}`];
}

function armText({ succeeded, failed, execution_ms_mean: mean, execution_ms_p95: p95 }: CanaryArm): string {
  const times = mean === null || p95 === null ? "" : `, ${Math.round(mean)} ms on average, p95 ${Math.round(p95)} ms`;
  return `${succeeded} succeeded, ${failed} failed${times}`;
}
