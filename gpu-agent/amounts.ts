/** Amounts of bytes as people read them. */
import type { ModelProgress } from "./models/progress-meter.ts";

const UNITS: readonly (readonly [bytes: number, name: string])[] = [
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
  [1, "bytes"],
];

function unitOf(bytes: number): readonly [number, string] {
  return UNITS.find(([size]) => bytes >= size) ?? [1, "bytes"];
}

/** One digit behind the point where there is only one before it: 6.9, 69, 690. */
function rounded(value: number): string {
  return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
}

/** `3.1 of 6.9 GB`: both in the unit of the whole. */
export function amountOf(done: number, total: number): string {
  const [size, name] = unitOf(total);
  return `${rounded(done / size)} of ${rounded(total / size)} ${name}`;
}

/** How far a model is: `3.1 of 6.9 GB of model.safetensors, 82 MB/s`. */
export function modelDoing(filename: string, progress: ModelProgress): string {
  const { phase, bytesDone, bytesTotal, bytesPerSecond } = progress;
  const amount = `${amountOf(bytesDone, bytesTotal)} of ${filename}`;
  switch (phase) {
    case "waiting":
      return bytesDone === 0 ? `waiting for ${filename}` : `${amount}, which another process fetches`;
    case "downloading": {
      const [size, name] = unitOf(bytesPerSecond);
      return bytesPerSecond === 0 ? amount : `${amount}, ${rounded(bytesPerSecond / size)} ${name}/s`;
    }
    case "verifying":
      return `verifying ${filename}`;
    case "ready":
      return `${filename} is here`;
    default:
      throw new Error(`unhandled: ${String(phase satisfies never)}`);
  }
}
