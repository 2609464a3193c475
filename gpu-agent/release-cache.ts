/** The releases of a replica's endpoint: each number is fetched once, since a release never changes. */
import type { ReleaseForAgent } from "#contract/agent";

export type FetchRelease = (release: number, signal: AbortSignal) => Promise<ReleaseForAgent>;

/** An endpoint seldom has jobs of more releases than this at one time. */
const RELEASES_MAX = 8;

export class ReleaseCache {
  readonly #fetch: FetchRelease;
  readonly #kept = new Map<number, ReleaseForAgent>();

  constructor(fetch: FetchRelease) {
    this.#fetch = fetch;
  }

  async get(release: number, signal: AbortSignal): Promise<ReleaseForAgent> {
    const kept = this.#kept.get(release);
    if (kept !== undefined) {
      // Moved to the end: the one used longest ago goes first.
      this.#kept.delete(release);
      this.#kept.set(release, kept);
      return kept;
    }
    const fetched = await this.#fetch(release, signal);
    this.#kept.set(release, fetched);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > RELEASES_MAX && oldest !== undefined) this.#kept.delete(oldest);
    return fetched;
  }
}
