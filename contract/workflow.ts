/** What a release knows about its workflow: the typed inputs callers fill, the outputs they get, and where both live in the graph. */
import * as z from "zod";

/** Names callers use: fal- and Replicate-style snake_case. */
export const InputName = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,63}$/, "lower-case letters, digits and underscores, starting with a letter, at most 64");

/** A field of a node in the graph, such as node "6", field "text". */
export const GraphTarget = z.object({ node: z.string(), field: z.string() }).meta({ id: "GraphTarget" });
export type GraphTarget = z.infer<typeof GraphTarget>;

export const MediaKind = z.enum(["image", "mask", "video", "audio", "file"]);
export type MediaKind = z.infer<typeof MediaKind>;

/** A number that may be a whole number beyond 2^53. */
const ExactNumber = z.union([z.number(), z.bigint()]);

/** The heading under which a form shows an input, among others with the same one. */
const InputGroup = z.string().min(1).max(100);

/** What a node's class asks an editor to show a number as. */
export const NumberDisplay = z.enum(["slider", "color"]);
export type NumberDisplay = z.infer<typeof NumberDisplay>;

const inputBase = {
  name: InputName,
  title: z.string(),
  description: z.string().optional(),
  /** Every place in the graph that gets the value. */
  targets: z.array(GraphTarget).min(1),
  /** Without a value from the caller and without a default, the job is refused. */
  required: z.boolean(),
  /** Rarely changed; user interfaces may fold it away. */
  advanced: z.boolean(),
  group: InputGroup.optional(),
};

export const InputSpec = z
  .discriminatedUnion("type", [
    z.object({
      ...inputBase,
      type: z.literal("string"),
      default: z.string().optional(),
      multiline: z.boolean(),
      maxLength: z.int().positive(),
      /** Nodes further on take the text for the name of a file, or of a model's file: it must not lead elsewhere. */
      names: z.enum(["file", "model"]).optional(),
    }),
    z.object({
      ...inputBase,
      type: z.literal("integer"),
      default: ExactNumber.optional(),
      minimum: ExactNumber.optional(),
      maximum: ExactNumber.optional(),
      step: ExactNumber.optional(),
      display: NumberDisplay.optional(),
      /** Left out by the caller, it is drawn at random and reported; the API never randomises by itself. */
      seed: z.boolean(),
    }),
    z.object({
      ...inputBase,
      type: z.literal("number"),
      default: z.number().optional(),
      minimum: z.number().optional(),
      maximum: z.number().optional(),
      step: z.number().optional(),
      display: NumberDisplay.optional(),
    }),
    z.object({ ...inputBase, type: z.literal("boolean"), default: z.boolean().optional() }),
    z.object({
      ...inputBase,
      type: z.literal("choice"),
      default: z.union([z.string(), ExactNumber]).optional(),
      choices: z.array(z.union([z.string(), ExactNumber])).min(1),
    }),
    z.object({
      ...inputBase,
      type: z.literal("file"),
      media: MediaKind,
      /** The file name the workflow carries; it exists only on the machine that made it, so it is no default. */
      example: z.string().optional(),
    }),
  ])
  .meta({ id: "InputSpec" });
export type InputSpec = z.infer<typeof InputSpec>;

export const OutputKind = z.enum(["image", "video", "audio", "text", "model3d", "file"]);
export type OutputKind = z.infer<typeof OutputKind>;

/** An output node. `kind` is what the node is expected to save; each file's real kind follows its extension. */
export const OutputSpec = z
  .object({
    name: InputName,
    title: z.string(),
    node: z.string(),
    kind: OutputKind,
    /** The node writes to ComfyUI's temp folder (previews): delivered only because nothing else is saved, or by choice. */
    temporary: z.boolean(),
  })
  .meta({ id: "OutputSpec" });
export type OutputSpec = z.infer<typeof OutputSpec>;

/** What the operator changes of the inferred inputs; the key is the inferred name. */
export const InputOverride = z
  .strictObject({
    name: InputName.optional(),
    hidden: z.boolean().optional(),
    title: z.string().max(200).optional(),
    description: z.string().max(2_000).optional(),
    required: z.boolean().optional(),
    advanced: z.boolean().optional(),
    /** An empty text takes the input out of its group. */
    group: z.union([InputGroup, z.literal("")]).optional(),
    default: z.unknown().optional(),
    minimum: ExactNumber.optional(),
    maximum: ExactNumber.optional(),
    step: ExactNumber.optional(),
    choices: z
      .array(z.union([z.string(), ExactNumber]))
      .min(1)
      .max(1_000)
      .optional(),
    maxLength: z.int().positive().optional(),
  })
  .meta({ id: "InputOverride" });
export type InputOverride = z.infer<typeof InputOverride>;

/** What the operator changes of the inferred outputs; the key is the inferred name, or with `node` the one it gets. */
export const OutputOverride = z
  .strictObject({
    name: InputName.optional(),
    hidden: z.boolean().optional(),
    title: z.string().max(200).optional(),
    /** The output is what this node gives: brings out one that is not shown, such as a preview's. */
    node: z.string().max(200).optional(),
    /** Whether what the node writes to ComfyUI's temp folder is delivered, too. */
    temporary: z.boolean().optional(),
  })
  .meta({ id: "OutputOverride" });
export type OutputOverride = z.infer<typeof OutputOverride>;

export const Overrides = z
  .strictObject({
    inputs: z.record(InputName, InputOverride).optional(),
    outputs: z.record(InputName, OutputOverride).optional(),
  })
  .meta({ id: "Overrides" });
export type Overrides = z.infer<typeof Overrides>;

/** What the importer understood. `graph` is API format holding only inputs, class_type and _meta, as exact JSON text. */
export const ImportedWorkflow = z.object({
  graph: z.string(),
  inputs: z.array(InputSpec),
  outputs: z.array(OutputSpec),
  /** Node classes of the graph, sorted: all that a replica must have. */
  classes: z.array(z.string()),
  /** Things the operator should know, in sentences. */
  warnings: z.array(z.string()),
});
export type ImportedWorkflow = z.infer<typeof ImportedWorkflow>;
