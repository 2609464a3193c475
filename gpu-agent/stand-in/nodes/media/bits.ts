/** Reading and writing bits, the highest of each byte first. */

export class BitWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;
  #pending = 0;
  #count = 0;

  /** Appends the lowest `count` bits (1..32) of a whole number. */
  write(value: number, count: number): void {
    if (count > 16) {
      this.write(Math.floor(value / 0x10000) & 0xffff, count - 16);
      this.write(value & 0xffff, 16);
      return;
    }
    this.#pending = (this.#pending << count) | (value & ((1 << count) - 1));
    this.#count += count;
    while (this.#count >= 8) {
      this.#count -= 8;
      this.#push((this.#pending >> this.#count) & 0xff);
    }
    this.#pending &= (1 << this.#count) - 1;
  }

  /** An unsigned number of H.264: its length in zeros, then itself, counted from one. */
  writeGolomb(value: number): void {
    const length = Math.floor(Math.log2(value + 1));
    if (length > 0) this.write(0, length);
    this.write(value + 1, length + 1);
  }

  /** Fills the last byte with zeros. */
  align(): void {
    if (this.#count > 0) this.write(0, 8 - this.#count);
  }

  /** Appends whole bytes; only after `align`. */
  writeBytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The whole bytes so far. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  finish(): Buffer {
    this.align();
    return Buffer.from(this.bytes());
  }

  #push(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

export class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The bit position. */
  get position(): number {
    return this.#at;
  }

  /** The next `count` bits (0..32) as a whole number. @throws RangeError at the end */
  read(count: number): number {
    if (this.#at + count > this.#bytes.length * 8) throw new RangeError("The data ends too early");
    let value = 0;
    for (let left = count; left > 0; ) {
      const offset = this.#at & 7;
      const take = Math.min(left, 8 - offset);
      const byte = this.#bytes[this.#at >> 3] ?? 0;
      value = value * 2 ** take + ((byte >> (8 - offset - take)) & ((1 << take) - 1));
      this.#at += take;
      left -= take;
    }
    return value;
  }

  /** The next `count` bits as a number with a sign. */
  readSigned(count: number): number {
    const value = this.read(count);
    return count > 0 && value >= 2 ** (count - 1) ? value - 2 ** count : value;
  }

  /** How many zeros stand before the next one, which is taken too. */
  readUnary(): number {
    let zeros = 0;
    while (this.read(1) === 0) zeros += 1;
    return zeros;
  }

  align(): void {
    this.#at = Math.ceil(this.#at / 8) * 8;
  }
}
