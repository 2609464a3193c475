/** Small documents of the editor's format, written by hand for the tests beside. */
import { type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";

/** A plain value as the parser would give it. */
export function json(value: unknown): JsonObject {
  return parseExactJson(stringifyExactJson(value)) as JsonObject;
}

interface NodeParts {
  readonly mode?: number;
  readonly order?: number;
  readonly title?: string;
  /** `"name:TYPE"`, with a link after it as `"name:TYPE<7"`, and a widget as `"name:TYPE*"`. */
  readonly inputs?: readonly string[];
  readonly outputs?: readonly string[];
  readonly widgets?: Json;
  readonly properties?: JsonObject;
}

/** A node; see {@link NodeParts} for the short form of slots. */
export function node(id: number | string, type: string, parts: NodeParts = {}): JsonObject {
  return json({
    id,
    type,
    mode: parts.mode ?? 0,
    order: parts.order ?? 0,
    title: parts.title,
    inputs: (parts.inputs ?? []).map(input),
    outputs: (parts.outputs ?? []).map((text) => {
      const [name, slotType] = text.split(":");
      return { name, type: slotType, links: null };
    }),
    widgets_values: parts.widgets,
    properties: parts.properties ?? {},
  });
}

function input(text: string): unknown {
  const match = /^([^:]*):([^*<]*)(\*?)(?:<(.+))?$/.exec(text);
  if (match === null) throw new Error(`not an input: ${text}`);
  const [, name, type, widget, link] = match;
  return {
    name,
    type,
    link: link === undefined ? null : Number(link),
    ...(widget === "*" ? { widget: { name } } : {}),
  };
}

/** A link of schema 1.0 and of subgraphs: `[id, from, fromSlot, to, toSlot, type]` as an object. */
export function objectLink(...link: readonly [number, number, number, number, number, string]): JsonObject {
  const [id, origin_id, origin_slot, target_id, target_slot, type] = link;
  return json({ id, origin_id, origin_slot, target_id, target_slot, type });
}
