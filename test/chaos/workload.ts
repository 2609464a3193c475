/** The jobs of a chaos run, drawn from a seed: what is submitted, and what must come of it. */
import { createHash } from "node:crypto";
import type { Lane } from "#contract/job";
import { SeededChance } from "./seeded-chance.ts";

/** The stand-in answers these words in a prompt with a slow or a failing node. */
const SLOW = "__slow__";
const FAIL = "__fail__";
/** In every prompt and in nothing else, so that one search of a log finds any prompt. */
export const PROMPT_MARK = "vixen-in-the-heather";

export type JobKind = "quick" | "slow" | "photo" | "failing" | "canceled";

/** Of a hundred jobs so many are of each kind. */
const KINDS: readonly (readonly [JobKind, number])[] = [
  ["quick", 30],
  ["slow", 38],
  ["photo", 14],
  ["failing", 8],
  ["canceled", 10],
];
/** An odd number: times the index, modulo 2^24, each job has a colour of its own. */
const COLOUR_STEP = 7_919;
const COLOURS = 2 ** 24;
export const PHOTOS = 8;
/** Pixels of a side. */
export const PICTURE_SIDE = 64;

export interface PlannedJob {
  readonly index: number;
  readonly kind: JobKind;
  readonly lane: Lane;
  readonly priority: number;
  readonly idempotencyKey: string;
  /** The same submit is sent so many times more, as a client does that did not get the answer. */
  readonly repeats: number;
  /** The job names a webhook of its own. */
  readonly hasWebhook: boolean;
  /** 0..2^24-1 */
  readonly color: number;
  readonly prompt: string;
  /** Which of the uploaded photos goes in; null for none. */
  readonly photo: number | null;
  /** A canceled job is canceled this long after it was accepted, ms. */
  readonly cancelAfterMs: number;
}

export const SLUGS = { plain: "chaos-plain", photo: "chaos-photo" } as const;

const PLAIN = {
  1: {
    class_type: "EmptyImage",
    inputs: { width: PICTURE_SIDE, height: PICTURE_SIDE, batch_size: 1, color: 0 as number },
  },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "colour" } },
  3: { class_type: "PrimitiveStringMultiline", inputs: { value: "" }, _meta: { title: "prompt" } },
  4: { class_type: "PreviewAny", inputs: { source: ["3", 0] } },
};
const PHOTO = {
  ...PLAIN,
  5: { class_type: "LoadImage", inputs: { image: "photo.png" } },
  6: { class_type: "SaveImage", inputs: { images: ["5", 0], filename_prefix: "photo" } },
};

/** The two endpoints' workflows. */
export const WORKFLOWS = { plain: PLAIN, photo: PHOTO } as const;

export function planJobs(count: number, seed: number): PlannedJob[] {
  const chance = new SeededChance(seed);
  const offset = chance.below(COLOURS);
  return Array.from({ length: count }, (_, index) => {
    const kind = drawKind(chance);
    // Of the photos some are slow as well, so that a fault can find them in the middle.
    const isSlow = kind === "slow" || kind === "canceled" || (kind === "photo" && chance.next() < 0.5);
    const marks = `${isSlow ? ` ${SLOW}` : ""}${kind === "failing" ? ` ${FAIL}` : ""}`;
    return {
      index,
      kind,
      lane: chance.next() < 0.7 ? "interactive" : "batch",
      priority: chance.below(10),
      idempotencyKey: `chaos-${seed}-${index}`,
      repeats: chance.next() < 0.7 ? 0 : 1 + chance.below(2),
      hasWebhook: chance.next() < 0.6,
      color: (offset + index * COLOUR_STEP) % COLOURS,
      prompt: `${PROMPT_MARK} ${seed}/${index}${marks}`,
      photo: kind === "photo" ? chance.below(PHOTOS) : null,
      cancelAfterMs: chance.below(3) === 0 ? 0 : chance.below(4_000),
    };
  });
}

/** It executes for long enough that a fault can meet it in the middle. */
export function isSlow(job: PlannedJob): boolean {
  return job.prompt.includes(SLOW);
}

function drawKind(chance: SeededChance): JobKind {
  let left = chance.below(100);
  for (const [kind, share] of KINDS) {
    if (left < share) return kind;
    left -= share;
  }
  return "quick";
}

export const slugOf = (job: PlannedJob): string => (job.photo === null ? SLUGS.plain : SLUGS.photo);

/** The graph that ComfyUI runs for a job, but for the places of its files. */
export function graphOf(color: number): Record<string, unknown> {
  const { 1: empty, 2: save } = PLAIN;
  return { 1: { ...empty, inputs: { ...empty.inputs, color } }, 2: save };
}

/** What must have been stored of a succeeded job: the endpoint's output name → sha256. */
export function expectedOutputs(
  job: PlannedJob,
  pictureOf: (color: number) => string,
  photoOf: (photo: number) => string,
): Record<string, string> {
  return {
    image: pictureOf(job.color),
    text: createHash("sha256").update(job.prompt).digest("hex"),
    ...(job.photo === null ? {} : { image_2: photoOf(job.photo) }),
  };
}
