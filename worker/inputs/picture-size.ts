/** What all picture readers check: how much room a picture takes when it is decoded. */
import { IMAGE_PIXELS_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";

/** Pixels of all frames of an animation: ComfyUI keeps them at once, as 12 bytes each, which makes 2.4 GB. */
export const ANIMATION_PIXELS_MAX = 4 * IMAGE_PIXELS_MAX;

/** Refuses a file. @param reason whole sentences: what is wrong, and what would fit */
export function refuseFile(reason: string): never {
  throw new Problem("invalid_file", reason);
}

/** @throws Problem invalid_file for a picture of no size or of too many pixels */
export function checkPixels(format: string, width: number, height: number): void {
  if (width < 1 || height < 1) refuseFile(`The ${format} says that it is ${width} × ${height} pixels.`);
  if (width * height > IMAGE_PIXELS_MAX) {
    refuseFile(`It has ${width} × ${height} pixels; at most ${IMAGE_PIXELS_MAX} are taken. Send it smaller.`);
  }
}

/** All frames are decoded into one batch. @throws Problem invalid_file when they have too many pixels together */
export function checkFrames(width: number, height: number, frames: number): void {
  if (frames <= 1 || width * height * frames <= ANIMATION_PIXELS_MAX) return;
  refuseFile(
    `Its ${frames} frames of ${width} × ${height} have more than ${ANIMATION_PIXELS_MAX} pixels together; ` +
      "send fewer or smaller ones, or a video.",
  );
}

export function refuseCut(format: string): never {
  return refuseFile(`The ${format} is cut off: the file ends before the picture does. Send the whole file.`);
}

export function refuseBroken(format: string, how: string): never {
  return refuseFile(`The ${format} is broken: ${how}. Save it again in a program that can open it.`);
}
