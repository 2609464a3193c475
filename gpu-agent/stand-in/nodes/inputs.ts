/** Reading a node's inputs: the executor has checked them against the class, so a wrong type here is a broken link. */
import type { ImageBatch, MaskBatch, NodeInputs } from "../node.ts";
import { NodeError } from "../node.ts";

function missing(inputs: NodeInputs, name: string, wanted: string): NodeError {
  const given = inputs[name];
  const kind = given === undefined || given === null ? "NoneType" : typeof given;
  return new NodeError("TypeError", `${name}: expected ${wanted}, got ${kind}`);
}

function isBatch(value: unknown): value is MaskBatch {
  return typeof value === "object" && value !== null && "data" in value && value.data instanceof Float32Array;
}

/** An IMAGE. */
export function imageOf(inputs: NodeInputs, name: string): ImageBatch {
  const image = optionalImage(inputs, name);
  if (image === undefined) throw missing(inputs, name, "an image");
  return image;
}

/** An IMAGE that need not be connected. */
export function optionalImage(inputs: NodeInputs, name: string): ImageBatch | undefined {
  const value = inputs[name];
  return isBatch(value) && "channels" in value ? (value as ImageBatch) : undefined;
}

/** A MASK. */
export function maskOf(inputs: NodeInputs, name: string): MaskBatch {
  const mask = optionalMask(inputs, name);
  if (mask === undefined) throw missing(inputs, name, "a mask");
  return mask;
}

/** A MASK that need not be connected. */
export function optionalMask(inputs: NodeInputs, name: string): MaskBatch | undefined {
  const value = inputs[name];
  return isBatch(value) && !("channels" in value) ? value : undefined;
}

/** An INT small enough to count with, or a FLOAT. */
export function numberOf(inputs: NodeInputs, name: string): number {
  const value = inputs[name];
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "boolean") return value ? 1 : 0;
  throw missing(inputs, name, "a number");
}

/** An INT that may be larger than a double can count: a seed. */
export function wholeOf(inputs: NodeInputs, name: string): bigint {
  const value = inputs[name];
  if (typeof value === "bigint") return value;
  return BigInt(Math.trunc(numberOf(inputs, name)));
}

/** A STRING or a choice. */
export function textOf(inputs: NodeInputs, name: string): string {
  const value = inputs[name];
  if (typeof value === "string") return value;
  throw missing(inputs, name, "a string");
}

/** A STRING that need not be given. */
export function optionalText(inputs: NodeInputs, name: string): string | undefined {
  const value = inputs[name];
  return typeof value === "string" ? value : undefined;
}

/** A BOOLEAN; absent ones are `otherwise`. */
export function flagOf(inputs: NodeInputs, name: string, otherwise = false): boolean {
  const value = inputs[name];
  return value === undefined ? otherwise : Boolean(value);
}
