/** Chance that a seed decides: the same seed throws the same dice. */
export class Dice {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  constructor(seed: number) {
    this.#a = seed >>> 0;
    this.#b = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
    this.#c = 0xdeadbeef;
    // The first numbers of neighbouring seeds are alike.
    for (let round = 0; round < 12; round += 1) this.#next();
  }

  /** 32 bits (sfc32). */
  #next(): number {
    const sum = (this.#a + this.#b + this.#count) >>> 0;
    this.#count = (this.#count + 1) >>> 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) >>> 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) >>> 0;
    this.#c = (this.#c + sum) >>> 0;
    return sum;
  }

  /** Uniform in [0, 1). */
  float(): number {
    return this.#next() / 2 ** 32;
  }

  chance(probability: number): boolean {
    return probability > 0 && this.float() < probability;
  }

  /** A whole number, both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.float() * (max - min + 1));
  }

  /** Whole milliseconds about `mean`, often less and at times several times as much; at least 1. */
  around(mean: number): number {
    return Math.max(1, Math.round(-Math.log(1 - this.float()) * mean));
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from.length === 0 ? undefined : from[Math.floor(this.float() * from.length)];
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 1) bytes[at] = this.#next() >>> 24;
    return bytes;
  }
}
