/** The form of a prompt's nodes: literal inputs, and links to other nodes. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

/** A link is `[node id, slot]`; other lists of two are literals that slipped through, as in ComfyUI. */
export function isLink(value: Json | undefined): value is [string, number] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "number";
}

/** A node's inputs; none for a node that has no such field. */
export function inputsOf(node: Json | undefined): JsonObject {
  return isJsonObject(node) && isJsonObject(node.inputs) ? node.inputs : {};
}

/** What a node says its class is. Only a text can be one. */
export function classOf(node: Json | undefined): Json {
  return isJsonObject(node) ? (node.class_type ?? null) : null;
}
