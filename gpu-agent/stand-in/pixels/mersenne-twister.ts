/** The random numbers PyTorch draws on the CPU: MT19937, and normal numbers made from them in groups of sixteen. */

const STATE = 624;
const MIDDLE = 397;

/** MT19937 as PyTorch seeds it: with the low 32 bits of the seed. */
export class MersenneTwister {
  readonly #state = new Uint32Array(STATE);
  #next = STATE;

  constructor(seed: number | bigint) {
    this.#state[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < STATE; i += 1) {
      const before = this.#state[i - 1] ?? 0;
      this.#state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
  }

  /** The next 32 bits. */
  word(): number {
    if (this.#next === STATE) this.#refill();
    let y = this.#state[this.#next] ?? 0;
    this.#next += 1;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** A float32 in [0, 1) of 24 random bits. */
  unit(): number {
    return (this.word() & 0xffffff) / 0x1000000;
  }

  /** A double in [0, 1) of 53 random bits. */
  unitDouble(): number {
    const low = this.word();
    const high = this.word();
    return ((high & 0x1fffff) * 0x100000000 + low) / 2 ** 53;
  }

  #refill(): void {
    const state = this.#state;
    for (let i = 0; i < STATE; i += 1) {
      const mixed = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % STATE] ?? 0) & 0x7fffffff);
      state[i] = (state[(i + MIDDLE) % STATE] ?? 0) ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

const GROUP = 16;
const HALF = GROUP / 2;

/** `count` float32 numbers of mean 0 and deviation 1, as `torch.randn` gives them on a CPU after `manual_seed`. */
export function normalNumbers(seed: number | bigint, count: number): Float32Array {
  const random = new MersenneTwister(seed);
  if (count < GROUP) return fewNormalNumbers(random, count);
  const values = Float32Array.from({ length: count }, () => random.unit());
  for (let at = 0; at + GROUP <= count; at += GROUP) toNormal(values, at);
  if (count % GROUP !== 0) {
    // The last group is drawn anew so that it ends with the array, over numbers already made.
    const at = count - GROUP;
    for (let i = at; i < count; i += 1) values[i] = random.unit();
    toNormal(values, at);
  }
  return values;
}

/** Box and Muller's transform of a group: the first half gives radii, the second angles. */
function toNormal(values: Float32Array, at: number): void {
  const f = Math.fround;
  for (let i = at; i < at + HALF; i += 1) {
    const radius = f(Math.sqrt(f(-2 * f(Math.log(f(1 - (values[i] ?? 0)))))));
    const angle = f(f(2 * Math.PI) * (values[i + HALF] ?? 0));
    values[i] = radius * f(Math.cos(angle));
    values[i + HALF] = radius * f(Math.sin(angle));
  }
}

function fewNormalNumbers(random: MersenneTwister, count: number): Float32Array {
  const values = new Float32Array(count + 1);
  for (let i = 0; i < count; i += 2) {
    const angle = 2 * Math.PI * random.unitDouble();
    const radius = Math.sqrt(-2 * Math.log1p(-random.unitDouble()));
    values[i] = radius * Math.cos(angle);
    values[i + 1] = radius * Math.sin(angle);
  }
  return values.subarray(0, count);
}
