/** Settings that mean the same in every workflow: sizes, counts, seeds, steps, guidance, strengths, frame rates. */
import { hasModelExtension } from "./file-names.ts";
import { type GraphNode, linkOf } from "./graph.ts";
import type { Candidates, Resolved, ScalarKind } from "./input-candidates.ts";
import { wordsFor } from "./input-words.ts";

interface Setting {
  readonly fields: RegExp;
  readonly kind: ScalarKind;
  /** The base of a node's field; undefined when the field means something else there. */
  readonly base: (node: GraphNode, field: string, resolved: Resolved, context: Context) => string | undefined;
  /** Nodes with equal values share one input; a LoRA's strength is its own. */
  readonly shared: boolean;
  readonly advanced?: boolean;
}

/** What the whole graph says about the meaning of single fields. */
interface Context {
  readonly candidates: Candidates;
  /** Some node takes `guidance`; `cfg` is then another thing. */
  readonly hasGuidance: boolean;
  /** AnimateDiff samples a batch of latents as one film. */
  readonly hasAnimateDiff: boolean;
  /** Some node makes a film of the pictures it gets. */
  readonly savesFilm: boolean;
  /** A latent is made from nothing, and with it the size is decided; a picture made for help decides nothing. */
  readonly hasEmptyLatent: boolean;
}

const EMPTY_LATENT = /empty.*(latent|video|audio)|latent.*empty/i;

const SETTINGS: readonly Setting[] = [
  {
    fields: /^(width|height)$/,
    kind: "integer",
    shared: true,
    base: (node, field, _resolved, context) => (decidesSize(node, context) ? field : undefined),
  },
  {
    fields: /^batch_size$/,
    kind: "integer",
    shared: true,
    base: (node, _field, _resolved, context) =>
      !decidesSize(node, context) ? undefined : isFilm(node, context) ? "num_frames" : "num_images",
  },
  {
    fields: /^amount$/,
    kind: "integer",
    shared: true,
    base: (node) => (/^Repeat(Latent|Image)Batch$/.test(node.classType) ? "num_images" : undefined),
  },
  {
    fields: /^(length|video_frames|num_frames)$/,
    kind: "integer",
    shared: true,
    base: (node, field) =>
      field !== "length" || ("width" in node.inputs && "height" in node.inputs) ? "num_frames" : undefined,
  },
  { fields: /^(fps|frame_rate)$/, kind: "number", shared: true, base: () => "fps" },
  {
    fields: /^seconds$/,
    kind: "number",
    shared: true,
    base: (node) => (EMPTY_LATENT.test(node.classType) ? "duration" : undefined),
  },
  {
    fields: /^(seed|noise_seed|rand_seed)$/,
    kind: "integer",
    shared: true,
    // A second sampler that goes on where the first stopped adds no noise: its seed does nothing.
    base: ({ inputs }) => (inputs.add_noise === "disable" || inputs.add_noise === false ? undefined : "seed"),
  },
  { fields: /^(steps|num_inference_steps)$/, kind: "integer", shared: true, base: () => "steps" },
  { fields: /^(guidance|guidance_scale)$/, kind: "number", shared: true, base: () => "guidance_scale" },
  {
    fields: /^(cfg|cfg_conds|cfg_scale)$/,
    kind: "number",
    shared: true,
    base: (_node, _field, _resolved, context) => (context.hasGuidance ? "cfg" : "guidance_scale"),
  },
  {
    fields: /^(denoise|denoise_strength)$/,
    kind: "number",
    shared: true,
    base: (node, _field, resolved, context) =>
      (typeof resolved.value === "number" && resolved.value < 1) || startsFromPicture(node, context)
        ? "strength"
        : "denoise",
  },
  {
    fields: /^sampler_name$/,
    kind: "string",
    shared: true,
    advanced: true,
    base: (_node, _field, resolved) => (typeof resolved.value === "string" ? "sampler_name" : undefined),
  },
  {
    fields: /^scheduler$/,
    kind: "string",
    shared: true,
    advanced: true,
    base: (_node, _field, resolved) => (typeof resolved.value === "string" ? "scheduler" : undefined),
  },
  {
    fields: /^(strength_model|strength_clip|strength|lora_strength|lora_wt|weight)$/,
    kind: "number",
    shared: false,
    advanced: true,
    base: (node, field) => adapterBase(node, field),
  },
];

export function findSettings(candidates: Candidates): void {
  const { live } = candidates.view;
  const has = (field: RegExp): boolean =>
    live.some((node) => Object.keys(node.inputs).some((name) => field.test(name)));
  const context: Context = {
    candidates,
    hasGuidance: has(/^(guidance|guidance_scale)$/),
    hasAnimateDiff: live.some((node) => /AnimateDiff|^ADE_/i.test(node.classType)),
    savesFilm: live.some((node) => /SaveAnimated|CreateVideo|VideoCombine|SaveWEBM/.test(node.classType)),
    hasEmptyLatent: live.some((node) => EMPTY_LATENT.test(node.classType)),
  };
  for (const node of live) {
    for (const field of Object.keys(node.inputs)) {
      const setting = SETTINGS.find((row) => row.fields.test(field));
      if (setting !== undefined) addSetting(node, field, setting, context);
    }
    joinClipStrength(node, candidates);
  }
  findResizes(context);
  joinModelSizes(candidates);
}

function addSetting(node: GraphNode, field: string, setting: Setting, context: Context): void {
  const { candidates } = context;
  const resolved = candidates.resolve(node, field);
  if (resolved === undefined || !fits(resolved, setting.kind)) return;
  const base = setting.base(node, field, resolved, context);
  if (base !== undefined) addBase(node, resolved, base, setting, candidates);
}

function addBase(
  node: GraphNode,
  resolved: Resolved,
  base: string,
  setting: Pick<Setting, "kind" | "shared" | "advanced">,
  candidates: Candidates,
): void {
  const words = wordsFor(base);
  candidates.add(
    resolved,
    {
      base,
      title: words.title,
      ...(words.description === undefined ? {} : { description: words.description }),
      nodeTitle: candidates.titleOf(node),
      kind: setting.kind,
      seed: base === "seed",
      advanced: setting.advanced === true || base === "cfg" || base === "denoise",
      hidden: false,
      rank: words.rank,
    },
    setting.shared,
  );
}

function fits(resolved: Resolved, kind: ScalarKind): boolean {
  const { value } = resolved;
  if (kind === "string") return typeof value === "string" && !hasModelExtension(value);
  return typeof value === "number" || typeof value === "bigint";
}

/** Nodes that make the latent, or in graphs without one the picture, that all else works on. */
function decidesSize(node: GraphNode, context: Context): boolean {
  if (EMPTY_LATENT.test(node.classType)) return true;
  if (/EmptyImage$/i.test(node.classType)) return !context.hasEmptyLatent && !hasSampler(context.candidates);
  const { inputs } = node;
  return "width" in inputs && "height" in inputs && ("length" in inputs || "video_frames" in inputs);
}

function hasSampler(candidates: Candidates): boolean {
  return candidates.view.live.some((node) => "latent_image" in node.inputs);
}

/** True where the pictures of a batch are the frames of one film. */
function isFilm(node: GraphNode, context: Context): boolean {
  return context.hasAnimateDiff || (context.savesFilm && /EmptyImage$/i.test(node.classType));
}

/** In a sampling graph whose size nothing else decides, the one node that resizes the picture does. */
function findResizes(context: Context): void {
  const { candidates } = context;
  if (!hasSampler(candidates) || candidates.all().some((found) => found.base === "width")) return;
  const resizes = candidates.view.live.filter(
    (node) => /resize|scale/i.test(node.classType) && "width" in node.inputs && "height" in node.inputs,
  );
  const [only] = resizes;
  if (only === undefined || resizes.length > 1) return;
  for (const field of ["width", "height"]) {
    const resolved = candidates.resolve(only, field);
    if (resolved !== undefined && fits(resolved, "integer")) {
      addBase(only, resolved, field, { kind: "integer", shared: true }, candidates);
    }
  }
}

/** ModelSamplingFlux repeats the picture's size; while it is the same, it stays the same. */
function joinModelSizes(candidates: Candidates): void {
  for (const node of candidates.view.live) {
    if (!node.classType.startsWith("ModelSampling")) continue;
    for (const field of ["width", "height"]) {
      const resolved = candidates.resolve(node, field);
      if (resolved !== undefined) candidates.addToShared(resolved, field, "integer");
    }
  }
}

function adapterBase(node: GraphNode, field: string): string | undefined {
  const { classType } = node;
  if (/lora/i.test(classType)) return field === "strength_clip" ? "lora_clip_scale" : "lora_scale";
  if (/control_?net.*apply|apply.*control_?net/i.test(classType) && field === "strength") return "controlnet_scale";
  return /ip_?adapter/i.test(classType) && field === "weight" ? "ip_adapter_scale" : undefined;
}

/** A LoRA's two strengths are one scale while they are equal, as they nearly always are. */
function joinClipStrength(node: GraphNode, candidates: Candidates): void {
  const model = candidates.at({ node: node.id, field: "strength_model" });
  const clip = candidates.at({ node: node.id, field: "strength_clip" });
  if (model === undefined || clip === undefined || model === clip || model.value !== clip.value) return;
  candidates.join(model, clip);
}

const LATENT_FIELDS = ["latent_image", "latent", "samples", "latents"];
const LATENT_STEPS_MAX = 1_000;

/**
 * True when sampling goes on from a picture: the latent behind the node's sampler comes from an encoder. A scheduler
 * has no latent of its own; the sampler that reads it has.
 */
function startsFromPicture(node: GraphNode, context: Context): boolean {
  const { graph, uses } = context.candidates.view;
  const readers = (uses.get(node.id) ?? []).map((use) => use.node);
  let place: GraphNode | undefined = [node, ...readers].find((candidate) => "latent_image" in candidate.inputs);
  for (let step = 0; place !== undefined && step < LATENT_STEPS_MAX; step += 1) {
    const current: GraphNode = place;
    const link = LATENT_FIELDS.map((field) => linkOf(current.inputs[field])).find((found) => found !== undefined);
    if (link === undefined) return !EMPTY_LATENT.test(current.classType) && step > 0;
    place = graph.get(link.node);
  }
  return false;
}
