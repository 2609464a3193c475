/** Names and words of inputs: what callers of fal and Replicate know, and names made from titles. */

interface Word {
  readonly title: string;
  readonly description?: string;
  readonly rank: number;
}

/** Bases with a meaning of their own, in the order of a form. */
const WORDS: Readonly<Record<string, Word>> = {
  prompt: { title: "Prompt", description: "What the result should show.", rank: 0 },
  negative_prompt: { title: "Negative prompt", description: "What the result should not show.", rank: 1 },
  lyrics: { title: "Lyrics", rank: 2 },
  image: { title: "Image", rank: 3 },
  mask: { title: "Mask", description: "Which part of the image to work on.", rank: 4 },
  video: { title: "Video", rank: 5 },
  audio: { title: "Audio", rank: 6 },
  file: { title: "File", rank: 7 },
  width: { title: "Width", description: "Pixels.", rank: 8 },
  height: { title: "Height", description: "Pixels.", rank: 9 },
  num_images: { title: "Number of images", rank: 10 },
  num_frames: { title: "Number of frames", rank: 11 },
  fps: { title: "Frames per second", rank: 12 },
  duration: { title: "Duration", description: "Seconds.", rank: 13 },
  seed: { title: "Seed", description: "The same seed gives the same result; drawn at random when left out.", rank: 14 },
  steps: { title: "Steps", description: "More steps take longer and add detail.", rank: 15 },
  guidance_scale: { title: "Guidance scale", description: "How closely the result follows the prompt.", rank: 16 },
  strength: { title: "Strength", description: "How much of the input is changed: 0 nothing, 1 all.", rank: 17 },
  sampler_name: { title: "Sampler", rank: 18 },
  scheduler: { title: "Scheduler", rank: 19 },
  cfg: { title: "CFG", rank: 20 },
  denoise: { title: "Denoise", rank: 21 },
  lora_scale: { title: "LoRA scale", description: "How strongly the LoRA acts.", rank: 22 },
  lora_clip_scale: { title: "LoRA scale for the text", rank: 23 },
  controlnet_scale: { title: "ControlNet scale", rank: 24 },
  ip_adapter_scale: { title: "IP-Adapter scale", rank: 25 },
};
/** After every base above: what marker nodes name, then parameters of single nodes, then models. */
export const MARKER_RANK = 2;
export const PARAMETER_RANK = 50;
export const MODEL_RANK = 90;

/** Title, description and place of a base. */
export function wordsFor(base: string, rank = PARAMETER_RANK): Word {
  return (Object.hasOwn(WORDS, base) ? WORDS[base] : undefined) ?? { title: humanize(base), rank };
}

/** `blend_factor` to "Blend factor". */
export function humanize(name: string): string {
  const words = name.replaceAll("_", " ").trim();
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

const NAME_LENGTH_MAX = 48;

/**
 * A name made of a title or a field: lower-case letters, digits and underscores, starting with a letter. Undefined
 * when nothing is left, as with a title in Chinese. Short enough for a number to follow within InputName's 64.
 */
export function slug(text: string): string | undefined {
  const words = text
    .slice(0, 300)
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^[^a-z]+/, "")
    .slice(0, NAME_LENGTH_MAX)
    .replace(/_+$/, "");
  // A plain object has a "constructor" already, so that a caller's code might mistake it for a value.
  return words === "" ? undefined : words === "constructor" ? "constructor_value" : words;
}
