/** Where a text goes that a node hands on: a name that a value node holds reaches the disk in another node. */
import type { GraphTarget } from "#contract/workflow";
import { isModelFile, isPathField } from "./file-names.ts";
import type { GraphNode, Use } from "./graph.ts";
import type { Candidates } from "./input-candidates.ts";

/** Fields of loaders that hold a file's name and nothing else. */
const MEDIA_FIELD = /^(image|mask|video|audio)s?$/;
/** Where a node saves is never a caller's to say: the agent sets it in every job. */
const PREFIX_FIELD = "filename_prefix";
const TEXT_TYPES: ReadonlySet<string> = new Set(["STRING", "COMBO", "*"]);

/** `loras.lora_2` is a `lora`: dynamic inputs have dots, and fields that come again have numbers. */
export function plainField(field: string): string {
  return field.slice(field.lastIndexOf(".") + 1).replace(/_?[0-9]+$/, "");
}

/** What a text in this field names; undefined where it is any text. */
export function nameKind(field: string): "file" | "model" | undefined {
  if (field === PREFIX_FIELD) return undefined;
  const plain = plainField(field);
  if (isModelFile(plain, "")) return "model";
  return isPathField(plain) || MEDIA_FIELD.test(plain) ? "file" : undefined;
}

/**
 * What a text names in the fields that are linked to its places, directly or through nodes that make texts of texts.
 * @returns "file" also where it names a model elsewhere: a file's name is judged more strictly
 */
export function nameKindWhereUsed(
  targets: readonly GraphTarget[],
  candidates: Candidates,
): "file" | "model" | undefined {
  const { graph, uses } = candidates.view;
  const waiting = targets.flatMap(({ node }) => graph.get(node) ?? []);
  const seen = new Set(waiting);
  let found: "file" | "model" | undefined;
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const use of uses.get(node.id) ?? []) {
      if (!isText(node, use, candidates)) continue;
      const kind = nameKind(use.field);
      if (kind === "file") return kind;
      found ??= kind;
      if (!seen.has(use.node)) waiting.push(use.node);
      seen.add(use.node);
    }
  }
  return found;
}

/** Whether a link carries text. Of a class that nobody describes, the other end decides; of two, that it holds a value alone. */
function isText(from: GraphNode, { node, field, output }: Use, candidates: Candidates): boolean {
  const gives = candidates.classOf(from)?.outputs[output];
  const takes = candidates.declared({ node: node.id, field })?.type;
  if (gives !== undefined && !TEXT_TYPES.has(gives)) return false;
  if (takes !== undefined) return takes.split(",").some((type) => TEXT_TYPES.has(type.trim()));
  return gives !== undefined || Object.keys(from.inputs).length === 1;
}
