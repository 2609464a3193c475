/** Releases as callers see them: which there are, and how two of them differ. */
import * as z from "zod";
import { Canary } from "#contract/canary";
import { Release } from "#contract/endpoint";
import { EndpointId } from "#contract/ids";
import { Sha256 } from "#contract/job";
import { Force } from "#contract/verification";
import { InputSpec, OutputSpec } from "#contract/workflow";

/** A release in its endpoint's list, or by its number. */
export const EndpointRelease = Release.extend({
  endpoint_id: EndpointId,
  active: z.boolean().meta({ description: "New jobs run on it" }),
  canary: Canary.nullable().meta({ description: "A part of the new jobs runs on it; null: none" }),
  graph: z
    .record(z.string(), z.unknown())
    .optional()
    .meta({ description: "The workflow in API format as it runs; only with graph=true" }),
}).meta({ id: "EndpointRelease" });
export type EndpointRelease = z.infer<typeof EndpointRelease>;

/** One field that differs. `from` or `to` is missing where that release does not have the field. */
export const FieldChange = z
  .object({ field: z.string(), from: z.unknown().optional(), to: z.unknown().optional() })
  .meta({ id: "FieldChange" });
export type FieldChange = z.infer<typeof FieldChange>;

const NamedChange = z.object({ name: z.string(), fields: z.array(FieldChange) }).meta({ id: "NamedChange" });

const GraphNodeName = z.object({ node: z.string(), class_type: z.string() }).meta({ id: "GraphNodeName" });

const Names = z.object({ added: z.array(z.string()), removed: z.array(z.string()) });

/** What one build has that another has not; a release without a build counts as one with nothing in it. */
export const BuildDiff = z
  .object({
    from: Sha256.nullable(),
    to: Sha256.nullable(),
    fields: z.array(FieldChange).meta({ description: "ComfyUI, Python, torch, launch flags and cache" }),
    custom_nodes: Names.meta({ description: "Each with its pin: name@commit or name@version" }),
    packages: Names.meta({ description: "Lines of the Python lock" }),
    models: Names.meta({ description: "folder/file and the sha256 of its bytes" }),
  })
  .meta({ id: "BuildDiff" });
export type BuildDiff = z.infer<typeof BuildDiff>;

/** What one release has that another has not. Inputs and outputs are told apart by name, nodes by their id in the graph. */
export const ReleaseDiff = z
  .object({
    from: z.int().positive(),
    to: z.int().positive(),
    same: z.boolean().meta({ description: "Both have the same content: graph, inputs and outputs" }),
    inputs: z.object({ added: z.array(InputSpec), removed: z.array(InputSpec), changed: z.array(NamedChange) }),
    outputs: z.object({ added: z.array(OutputSpec), removed: z.array(OutputSpec), changed: z.array(NamedChange) }),
    nodes: z.object({
      added: z.array(GraphNodeName),
      removed: z.array(GraphNodeName),
      changed: z.array(GraphNodeName.extend({ fields: z.array(FieldChange) })),
    }),
    classes: Names,
    build: BuildDiff.nullable().meta({ description: "null: both have the same build, or neither has one" }),
    models: Names.meta({ description: "Model files that loaders of the graph name, with their folders" }),
  })
  .meta({ id: "ReleaseDiff" });
export type ReleaseDiff = z.infer<typeof ReleaseDiff>;

/** Body of an activation. */
export const Activation = z.strictObject({ force: Force.default(false) }).meta({ id: "Activation" });
export type Activation = z.infer<typeof Activation>;

export const Rollback = z
  .strictObject({
    from: z.int().positive().optional().meta({
      description: "The release that you see as active; when another one is, nothing changes and the answer is 409",
    }),
    force: Force.default(false),
  })
  .meta({ id: "Rollback" });
export type Rollback = z.infer<typeof Rollback>;
