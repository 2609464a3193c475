/**
 * How long zlib data (RFC 1950, 1951) becomes when it is unpacked, without unpacking it: a length needs the codes but
 * not the bytes, so that a bomb costs no memory. The platform's own stream hands out what it unpacks and holds what was
 * not read yet, a thousand times what came in.
 */
import { joined } from "#worker/http/read-body";

/**
 * `open`: more is to come. `done`: the data ended by itself. `broken`: it is no zlib data. `over`: it becomes longer than
 * allowed. `short`: it was cut off.
 */
export type InflateState = "open" | "done" | "broken" | "over" | "short";

/** A symbol's bits and those that are read ahead of it. */
const SYMBOL_BYTES = 16;
/** A block's header: 14 bits, 19 lengths of 3 bits, and 320 lengths of 14 bits at most. */
const HEADER_BYTES = 600;
/**
 * Each block brings its own codes, which cost as much to build as some hundred symbols. Encoders write blocks of
 * thousands of bytes; data of more than so many, and of fewer bytes a block than this, is made to cost time.
 */
const BLOCKS_FREE = 1_000;
const BLOCK_BYTES_MIN = 64;

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115].concat([
  131, 163, 195, 227, 258,
]);
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1_025].concat([
  1_537, 2_049, 3_073, 4_097, 6_145, 8_193, 12_289, 16_385, 24_577,
]);
const DISTANCE_EXTRA = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10].concat([
  11, 11, 12, 12, 13, 13,
]);
/** The order in which a block gives the lengths of its length codes. */
const LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

const CODE_BITS_MAX = 15;
/** Codes up to this long are looked up at once; the few longer ones are found bit by bit. */
const TABLE_BITS = 10;
const TABLE_MASK = (1 << TABLE_BITS) - 1;

/** A canonical Huffman code. */
class HuffmanCode {
  readonly count = new Uint16Array(CODE_BITS_MAX + 1);
  readonly symbols = new Uint16Array(288);
  /** By the next bits: `length << 9 | symbol`, 0 where the code is longer or not there. */
  readonly table = new Uint16Array(1 << TABLE_BITS);

  /** @returns false for lengths that no code can have; unused ones have no symbol, or one of a single bit */
  build(lengths: Uint8Array): boolean {
    const { count, symbols, table } = this;
    count.fill(0);
    for (const length of lengths) count[length] = (count[length] ?? 0) + 1;
    const used = lengths.length - (count[0] ?? 0);
    count[0] = 0;
    let left = 1;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits += 1) {
      left = left * 2 - (count[bits] ?? 0);
      if (left < 0) return false;
    }
    const offsets = new Uint16Array(CODE_BITS_MAX + 2);
    const codes = new Uint16Array(CODE_BITS_MAX + 2);
    for (let bits = 1; bits <= CODE_BITS_MAX; bits += 1) {
      offsets[bits + 1] = (offsets[bits] ?? 0) + (count[bits] ?? 0);
      codes[bits + 1] = ((codes[bits] ?? 0) + (count[bits] ?? 0)) << 1;
    }
    table.fill(0);
    for (let symbol = 0; symbol < lengths.length; symbol += 1) {
      const bits = lengths[symbol] ?? 0;
      if (bits === 0) continue;
      const place = offsets[bits] ?? 0;
      symbols[place] = symbol;
      offsets[bits] = place + 1;
      const code = codes[bits] ?? 0;
      codes[bits] = code + 1;
      if (bits > TABLE_BITS) continue;
      for (let at = reversed(code, bits); at <= TABLE_MASK; at += 1 << bits) table[at] = (bits << 9) | symbol;
    }
    return left === 0 || used === 0 || (used === 1 && count[1] === 1);
  }
}

function reversed(code: number, bits: number): number {
  let result = 0;
  for (let bit = 0; bit < bits; bit += 1) result |= ((code >>> bit) & 1) << (bits - 1 - bit);
  return result;
}

const FIXED_LITERALS = new HuffmanCode();
const FIXED_DISTANCES = new HuffmanCode();
FIXED_LITERALS.build(
  Uint8Array.from({ length: 288 }, (_, symbol) => (symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8)),
);
FIXED_DISTANCES.build(new Uint8Array(32).fill(5));

export class CountingInflate {
  readonly #most: number;
  readonly #ownLiterals = new HuffmanCode();
  readonly #ownDistances = new HuffmanCode();
  #literals = FIXED_LITERALS;
  #distances = FIXED_DISTANCES;
  #state: InflateState = "open";
  #mode: "head" | "block" | "stored" | "codes" = "head";
  #isLast = false;
  #storedLeft = 0;
  #count = 0;
  #blocks = 0;
  #bytesIn = 0;

  #buffer: Uint8Array = new Uint8Array(0);
  /** Where the bytes that came end; behind it lie zeros once the data has ended. */
  #end = 0;
  #at = 0;
  #bits = 0;
  #bitCount = 0;

  /** @param most bytes that the data may become */
  constructor(most: number) {
    this.#most = most;
  }

  /** Bytes that the data has become so far. */
  get count(): number {
    return this.#count;
  }

  /** Takes the next bytes. What comes after the end of the data is not looked at. */
  push(bytes: Uint8Array): InflateState {
    if (this.#state !== "open") return this.#state;
    this.#bytesIn += bytes.byteLength;
    const rest = this.#buffer.subarray(this.#at);
    this.#buffer = rest.byteLength === 0 ? bytes : joined([rest, bytes]);
    this.#at = 0;
    this.#end = this.#buffer.byteLength;
    this.#run(false);
    return this.#state;
  }

  /** No more will come. */
  finish(): InflateState {
    if (this.#state !== "open") return this.#state;
    const rest = this.#buffer.subarray(this.#at, this.#end);
    this.#buffer = joined([rest, new Uint8Array(HEADER_BYTES + 2 * SYMBOL_BYTES)]);
    this.#at = 0;
    this.#end = rest.byteLength;
    this.#run(true);
    if (this.#state === "open") this.#state = "short";
    return this.#state;
  }

  /** Works while a whole step's bytes are there; at the end the zeros behind stand in, and using them is `short`. */
  #run(isEnd: boolean): void {
    while (this.#state === "open") {
      const left = this.#end - this.#at;
      switch (this.#mode) {
        case "head":
          if (left < 2 && !isEnd) return;
          this.#readHead();
          break;
        case "block":
          if (left < HEADER_BYTES && !isEnd && !this.#isStoredNext()) return;
          this.#readBlockHead();
          break;
        case "stored":
          if (left === 0) return;
          this.#passStored(Math.min(left, this.#storedLeft));
          break;
        case "codes":
          if (left < SYMBOL_BYTES && !isEnd) return;
          this.#passSymbols(isEnd);
          break;
        default:
          throw new Error(`unhandled: ${JSON.stringify(this.#mode satisfies never)}`);
      }
      if (isEnd && this.#usedUp() && !this.#isOver()) this.#state = "short";
    }
  }

  #isOver(): boolean {
    return this.#state === "over";
  }

  /** Bits were used that never came. */
  #usedUp(): boolean {
    return this.#at * 8 - this.#bitCount > this.#end * 8;
  }

  #need(bits: number): void {
    while (this.#bitCount < bits) {
      this.#bits |= (this.#buffer[this.#at] ?? 0) << this.#bitCount;
      this.#at += 1;
      this.#bitCount += 8;
    }
  }

  #take(bits: number): number {
    this.#need(bits);
    const value = this.#bits & ((1 << bits) - 1);
    this.#bits >>>= bits;
    this.#bitCount -= bits;
    return value;
  }

  #readHead(): void {
    const method = this.#take(8);
    const flags = this.#take(8);
    const fits = (method & 15) === 8 && method >> 4 <= 7 && (method * 256 + flags) % 31 === 0 && (flags & 32) === 0;
    if (fits) this.#mode = "block";
    else this.#state = "broken";
  }

  /** Small blocks at the end of what has come: a stored one's header is short, so that waiting is not needed. */
  #isStoredNext(): boolean {
    if (this.#end - this.#at < SYMBOL_BYTES) return false;
    this.#need(3);
    return ((this.#bits >> 1) & 3) === 0;
  }

  #readBlockHead(): void {
    this.#isLast = this.#take(1) === 1;
    switch (this.#take(2)) {
      case 0: {
        const odd = this.#bitCount & 7;
        this.#take(odd);
        const length = this.#take(8) | (this.#take(8) << 8);
        const check = this.#take(8) | (this.#take(8) << 8);
        if (length !== (~check & 0xffff)) {
          this.#state = "broken";
          return;
        }
        // Whole bytes that were read ahead belong to what is stored.
        this.#at -= this.#bitCount >> 3;
        this.#bits = 0;
        this.#bitCount = 0;
        this.#storedLeft = length;
        this.#mode = "stored";
        if (length === 0) this.#endBlock();
        return;
      }
      case 1:
        this.#literals = FIXED_LITERALS;
        this.#distances = FIXED_DISTANCES;
        this.#mode = "codes";
        return;
      case 2:
        this.#mode = "codes";
        if (!this.#readCodes()) this.#state = "broken";
        return;
      default:
        this.#state = "broken";
    }
  }

  #readCodes(): boolean {
    this.#blocks += 1;
    if (this.#blocks > BLOCKS_FREE + this.#bytesIn / BLOCK_BYTES_MIN) return false;
    const literals = this.#take(5) + 257;
    const distances = this.#take(5) + 1;
    const codes = this.#take(4) + 4;
    if (literals > 286 || distances > 30) return false;
    const ofLengths = new Uint8Array(19);
    for (const place of LENGTH_ORDER.slice(0, codes)) ofLengths[place] = this.#take(3);
    if (!this.#ownLiterals.build(ofLengths)) return false;
    const lengths = new Uint8Array(literals + distances);
    for (let at = 0; at < lengths.length; ) {
      const symbol = this.#symbol(this.#ownLiterals);
      if (symbol < 0) return false;
      if (symbol < 16) {
        lengths[at] = symbol;
        at += 1;
        continue;
      }
      if (symbol === 16 && at === 0) return false;
      const repeated = symbol === 16 ? (lengths[at - 1] ?? 0) : 0;
      const times = symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (at + times > lengths.length) return false;
      lengths.fill(repeated, at, at + times);
      at += times;
    }
    // Without a code for its end, a block never ends.
    if (lengths[256] === 0) return false;
    this.#literals = this.#ownLiterals;
    this.#distances = this.#ownDistances;
    return (
      this.#ownLiterals.build(lengths.subarray(0, literals)) && this.#ownDistances.build(lengths.subarray(literals))
    );
  }

  #passStored(count: number): void {
    this.#at += count;
    this.#storedLeft -= count;
    this.#grow(count);
    if (this.#storedLeft === 0) this.#endBlock();
  }

  #endBlock(): void {
    if (this.#isLast) {
      if (this.#state === "open") this.#state = "done";
    } else this.#mode = "block";
  }

  #grow(count: number): void {
    this.#count += count;
    if (this.#count > this.#most) this.#state = "over";
  }

  #passSymbols(isEnd: boolean): void {
    const stop = isEnd ? this.#end + SYMBOL_BYTES : this.#end - SYMBOL_BYTES;
    while (this.#at <= stop && this.#state === "open") {
      const symbol = this.#symbol(this.#literals);
      if (symbol < 256 && symbol >= 0) {
        this.#count += 1;
        if (this.#count > this.#most) this.#state = "over";
        continue;
      }
      if (symbol === 256) {
        if (!isEnd || !this.#usedUp()) this.#endBlock();
        return;
      }
      const place = symbol - 257;
      const base = symbol < 0 ? undefined : LENGTH_BASE[place];
      if (base === undefined) {
        this.#state = "broken";
        return;
      }
      const length = base + this.#take(LENGTH_EXTRA[place] ?? 0);
      const distanceSymbol = this.#symbol(this.#distances);
      const distanceBase = distanceSymbol < 0 ? undefined : DISTANCE_BASE[distanceSymbol];
      if (distanceBase === undefined) {
        this.#state = "broken";
        return;
      }
      const distance = distanceBase + this.#take(DISTANCE_EXTRA[distanceSymbol] ?? 0);
      if (distance > this.#count) this.#state = "broken";
      else this.#grow(length);
    }
  }

  /** The next symbol, or -1 where the bits are no code. */
  #symbol({ table, count, symbols }: HuffmanCode): number {
    this.#need(CODE_BITS_MAX);
    const bits = this.#bits;
    const entry = table[bits & TABLE_MASK] ?? 0;
    if (entry !== 0) {
      this.#bits = bits >>> (entry >> 9);
      this.#bitCount -= entry >> 9;
      return entry & 511;
    }
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= CODE_BITS_MAX; length += 1) {
      code |= (bits >>> (length - 1)) & 1;
      const here = count[length] ?? 0;
      if (code - first < here) {
        this.#bits = bits >>> length;
        this.#bitCount -= length;
        return symbols[index + code - first] ?? -1;
      }
      index += here;
      first = (first + here) << 1;
      code <<= 1;
    }
    return -1;
  }
}
