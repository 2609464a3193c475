/** The sound that stands for what a model would have made: a slow arpeggio that follows from a text. */

/** A scale in which every two notes sound well together, in half tones above the root. */
const SCALE = [0, 2, 4, 7, 9, 12, 14, 16] as const;
const ROOT_HZ = 220;
const NOTES_PER_SECOND = 3;
const VOLUME = 0.22;

/** Two channels of `length` samples. The same text gives the same sound. */
export function tuneFor(text: string, length: number, rate: number): [Float32Array, Float32Array] {
  const left = new Float32Array(length);
  const right = new Float32Array(length);
  const root = ROOT_HZ * 2 ** (Math.floor(chance(text, 0) * 12) / 12);
  const span = Math.round(rate / NOTES_PER_SECOND);
  // A note rings on under the next ones.
  const ring = span * 3;
  for (let note = 0; note * span < length; note += 1) {
    const step = SCALE[Math.floor(chance(text, note + 1) * SCALE.length)] ?? 0;
    const frequency = root * 2 ** (step / 12);
    const pan = 0.25 + 0.5 * chance(text, note + 10_001);
    const turn = (2 * Math.PI * frequency) / rate;
    for (let i = 0; i < ring && note * span + i < length; i += 1) {
      const envelope = Math.min(1, i / (rate * 0.01)) * (1 - i / ring) ** 2 * VOLUME;
      const value = (Math.sin(i * turn) + 0.3 * Math.sin(i * turn * 2)) * envelope;
      const at = note * span + i;
      left[at] = (left[at] ?? 0) + value * (1 - pan);
      right[at] = (right[at] ?? 0) + value * pan;
    }
  }
  return [left, right];
}

/** A number in [0, 1) for a text and an index. */
function chance(text: string, index: number): number {
  let hash = Math.imul(index + 1, 0x9e3779b1) ^ 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) / 0x1_0000_0000;
}
