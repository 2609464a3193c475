/** Counts in which what happened longer ago counts less, without touching all of them each time. */

/** The counts are written anew when the latest weight has grown by this factor. */
const REBASE = 1e9;

export class DecayedCounts {
  readonly #halfLifeMs: number;
  #weights: number[];
  /** Something counted at `#base` weighs 1, something later more. */
  #base: number;

  /** @param saved as of `at`: something counted at that moment weighs 1 */
  constructor(size: number, halfLifeMs: number, saved: readonly number[], at: number) {
    this.#halfLifeMs = halfLifeMs;
    this.#weights = Array.from({ length: size }, (_, index) => saved[index] ?? 0);
    this.#base = at;
  }

  add(index: number, at: number): void {
    let weight = this.#weightAt(at);
    if (weight > REBASE) {
      this.#weights = this.#weights.map((known) => known / weight);
      this.#base = at;
      weight = 1;
    }
    this.#weights[index] = (this.#weights[index] ?? 0) + weight;
  }

  /** As of that moment: something counted then weighs 1. */
  weights(at: number): readonly number[] {
    const unit = this.#weightAt(at);
    return this.#weights.map((weight) => weight / unit);
  }

  /** The same, rounded and without the zeros at the end. */
  save(at: number): number[] {
    const weights = this.weights(at);
    const last = weights.findLastIndex((weight) => weight > 0);
    return weights.slice(0, last + 1).map((weight) => Number(weight.toPrecision(4)));
  }

  #weightAt(at: number): number {
    return 2 ** ((at - this.#base) / this.#halfLifeMs);
  }
}
