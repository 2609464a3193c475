/** Small graphs that tests share, and the way they import them. */
import { type Json, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import type { Refusal } from "#contract/problems";
import type { ImportedWorkflow, InputSpec } from "#contract/workflow";
import { type ImportOptions, importWorkflow } from "#workflow/import-workflow";

interface Node {
  class_type: string;
  inputs: Record<string, unknown>;
  _meta?: { title: string };
}
export type Nodes = Record<string, Node>;

export function node(classType: string, inputs: Record<string, unknown>, title?: string): Node {
  return { class_type: classType, inputs, ...(title === undefined ? {} : { _meta: { title } }) };
}

const SAMPLING = { steps: 20, cfg: 7, sampler_name: "euler", scheduler: "normal", denoise: 1 };

/** A KSampler that reads nodes "model", "positive", "negative" and "latent" unless told otherwise. */
export function sampler(inputs: Record<string, unknown> = {}, title?: string): Node {
  const links = {
    model: ["model", 0],
    positive: ["positive", 0],
    negative: ["negative", 0],
    latent_image: ["latent", 0],
  };
  return node("KSampler", { seed: 5, ...SAMPLING, ...links, ...inputs }, title);
}

/** Text to image with Stable Diffusion; `changes` replaces nodes or adds some. */
export function textToImage(changes: Nodes = {}): Nodes {
  return {
    model: node("CheckpointLoaderSimple", { ckpt_name: "model.safetensors" }),
    positive: node("CLIPTextEncode", { text: "a lamp", clip: ["model", 1] }),
    negative: node("CLIPTextEncode", { text: "blurry", clip: ["model", 1] }),
    latent: node("EmptyLatentImage", { width: 512, height: 768, batch_size: 1 }),
    sampler: sampler(),
    decode: node("VAEDecode", { samples: ["sampler", 0], vae: ["model", 2] }),
    save: node("SaveImage", { filename_prefix: "ComfyUI", images: ["decode", 0] }),
    ...changes,
  };
}

export async function imported(graph: unknown, options: ImportOptions = {}): Promise<ImportedWorkflow> {
  const result = await importWorkflow({ text: stringifyExactJson(graph) }, options);
  if (!result.ok) throw new Error(JSON.stringify(result));
  return result.workflow;
}

export async function refused(graph: unknown, options: ImportOptions = {}): Promise<Refusal> {
  const result = await importWorkflow({ text: stringifyExactJson(graph) }, options);
  if (result.ok) throw new Error("the workflow was imported");
  return result;
}

/** Each input's places by its name: `{ seed: "3.seed 11.seed" }`. */
export function places(inputs: readonly InputSpec[]): Record<string, string> {
  const place = (input: InputSpec): string => input.targets.map(({ node: id, field }) => `${id}.${field}`).join(" ");
  return Object.fromEntries(inputs.map((input) => [input.name, place(input)]));
}

export function input(workflow: ImportedWorkflow, name: string): InputSpec {
  const found = workflow.inputs.find((candidate) => candidate.name === name);
  if (found === undefined)
    throw new Error(`no input ${name} among ${workflow.inputs.map((spec) => spec.name).join(", ")}`);
  return found;
}

/** A graph as fillGraph takes it. */
export function parsed(text: string): Record<string, Json> {
  return parseExactJson(text, { pythonNumbers: true }) as Record<string, Json>;
}
