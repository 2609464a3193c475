/** What a workflow gives back: its output nodes, named, with the kind of file each is expected to save. */
import type { OutputKind, OutputSpec } from "#contract/workflow";
import { assignNames, type Nameable } from "./assign-names.ts";
import { type GraphNode, linkOf } from "./graph.ts";
import type { Candidates } from "./input-candidates.ts";
import { humanize } from "./input-words.ts";

/** An output before it has a name; a hidden one is listed only when the operator asks for it. */
export interface OutputCandidate extends Nameable {
  readonly node: string;
  readonly title: string;
  readonly kind: OutputKind;
  readonly temporary: boolean;
  readonly hidden: boolean;
}

/** Kinds of the classes whose name does not tell, or tells something else. */
const KINDS: Readonly<Record<string, OutputKind>> = {
  SaveAnimatedWEBP: "image",
  SaveAnimatedPNG: "image",
  SaveSVGNode: "image",
  MaskPreview: "image",
  SaveLatent: "file",
  PreviewAny: "text",
};
const KIND_WORDS: readonly (readonly [RegExp, OutputKind])[] = [
  [/video|webm|mp4|animatediff/i, "video"],
  [/audio|sound|music|speech/i, "audio"],
  [/3d|glb|mesh|gltf|splat/i, "model3d"],
  [/image|picture|mask/i, "image"],
  [/text|string|any|json|caption/i, "text"],
];
const TEMPORARY = /preview|show|display|view|compare|inspect/i;
const OUTPUT_LIKE = /save|preview|output|export|combine|write|send|show|display/i;

/**
 * The outputs in the order their nodes run. Nodes of unknown classes count when nothing reads them; they are shown when
 * their name says that they save, or when there is nothing else.
 */
export function findOutputs(candidates: Candidates): OutputCandidate[] {
  const { live, uses, lookup } = candidates.view;
  const ends = live.filter((node) => lookup(node.classType)?.isOutput === true || isUnreadStranger(node));
  function isUnreadStranger(node: GraphNode): boolean {
    return lookup(node.classType) === undefined && !uses.has(node.id);
  }
  const sure = ends.filter((node) => lookup(node.classType) !== undefined || OUTPUT_LIKE.test(node.classType));
  const shown = new Set(sure.length > 0 ? sure : ends);
  const hasSaved = [...shown].some((node) => !isTemporary(node));
  return ends.map((node) => {
    const kind = kindOf(node);
    const temporary = isTemporary(node);
    const base = /^SaveAnimated/.test(node.classType) ? "animation" : kind === "model3d" ? "model" : kind;
    return {
      base,
      title: candidates.hasOwnTitle(node) ? (node.title ?? base) : humanize(base),
      nodeTitle: candidates.hasOwnTitle(node) ? (node.title ?? "") : "",
      byTitle: candidates.hasOwnTitle(node),
      node: node.id,
      kind,
      temporary,
      hidden: !shown.has(node) || (temporary && hasSaved),
    };
  });
}

/** Text is no file in a temp folder: shown is delivered, whatever the node is called. */
function isTemporary(node: GraphNode): boolean {
  if (kindOf(node) === "text") return false;
  return TEMPORARY.test(node.classType) && !/save/i.test(node.classType);
}

/** By the class's name; for a name that says nothing by what it reads, and by the format it is told to write. */
function kindOf(node: GraphNode): OutputKind {
  const known = Object.hasOwn(KINDS, node.classType) ? KINDS[node.classType] : undefined;
  if (known !== undefined) return known;
  const { format } = node.inputs;
  if (typeof format === "string" && /^(image|video)\//.test(format))
    return format.startsWith("video") ? "video" : "image";
  const reads = Object.keys(node.inputs).filter((field) => linkOf(node.inputs[field]) !== undefined);
  for (const words of [node.classType, ...reads]) {
    const found = KIND_WORDS.find(([pattern]) => pattern.test(words));
    if (found !== undefined) return found[1];
  }
  return "file";
}

/** The outputs as the contract has them, with the names they are to have. */
export function outputSpecs(
  outputs: readonly OutputCandidate[],
  kept: (output: OutputCandidate) => string | undefined,
): Map<OutputCandidate, OutputSpec> {
  const names = assignNames(
    [...outputs].sort((a, b) => Number(a.hidden) - Number(b.hidden)),
    kept,
  );
  return new Map(
    outputs.map((output) => {
      const { title, node, kind, temporary } = output;
      return [output, { name: names.get(output) ?? output.base, title, node, kind, temporary }];
    }),
  );
}
