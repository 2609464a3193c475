/** What a prompt is worth to a simulated model: its words, and pictures that steer the result. */
import { type ImageBatch, NodeError } from "../node.ts";

/** A picture that steers: a ControlNet's, a reference to edit, a frame to start from. */
export interface Hint {
  readonly image: ImageBatch;
  /** How much of it shows in the result, 0..1. */
  readonly strength: number;
}

/** A CONDITIONING. */
export interface Conditioning {
  readonly conditioning: true;
  readonly text: string;
  /** Whatever else was said of it, so that a change shows in the picture. */
  readonly details: readonly string[];
  readonly hints: readonly Hint[];
}

export function conditioningOf(
  text: string,
  details: readonly string[] = [],
  hints: readonly Hint[] = [],
): Conditioning {
  return { conditioning: true, text, details, hints };
}

/** True for a CONDITIONING. */
export function isConditioning(value: unknown): value is Conditioning {
  return typeof value === "object" && value !== null && "conditioning" in value && value.conditioning === true;
}

/** @throws NodeError when the value is none, as when a node of another kind was linked */
export function toConditioning(value: unknown): Conditioning {
  if (isConditioning(value)) return value;
  throw new NodeError("TypeError", "'NoneType' object is not iterable");
}

/** The same with one more detail, and perhaps one more picture. */
export function refined(value: unknown, detail: string, hints: readonly Hint[] = []): Conditioning {
  const { text, details, hints: before } = toConditioning(value);
  return conditioningOf(text, detail === "" ? details : [...details, detail], [...before, ...hints]);
}

/** Two prompts as one. */
export function joined(first: unknown, second: unknown, detail: string): Conditioning {
  const a = toConditioning(first);
  const b = toConditioning(second);
  const text = [a.text, b.text].filter((part) => part !== "").join(", ");
  return conditioningOf(text, [...a.details, ...b.details, detail], [...a.hints, ...b.hints]);
}
