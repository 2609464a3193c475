/** An endpoint's inputs and outputs as JSON Schema 2020-12. */
import { type InputSpec, type MediaKind, OutputKind, type OutputSpec } from "#contract/workflow";
import { WHOLE_MAX, WHOLE_MIN } from "./validate-inputs.ts";

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

const MEDIA_TYPES: Readonly<Record<MediaKind, string>> = {
  image: "image/*",
  mask: "image/*",
  video: "video/*",
  audio: "audio/*",
  file: "application/octet-stream",
};

/**
 * The schema of a job's `inputs`. Bounds and defaults may be bigints: write it with stringifyExactJson.
 *
 * What JSON Schema has no word for stands in two fields of ours, which validators pass over:
 * - `x-step`: the step of a form's control; ComfyUI takes values between steps;
 * - `x-ui`: `order` (place in the form, from 0), `advanced` (may be folded away), `group` (heading, where there is one),
 *   and by type `multiline` (texts), `seed` (drawn at random when left out), `display` (`slider` or `color`, numbers),
 *   `media` (files: image, mask, video, audio, file).
 */
export function inputsJsonSchema(inputs: readonly InputSpec[]): Record<string, unknown> {
  return {
    $schema: DIALECT,
    type: "object",
    properties: Object.fromEntries(inputs.map((input, order) => [input.name, inputSchema(input, order)])),
    required: inputs.filter((input) => input.required).map((input) => input.name),
    additionalProperties: false,
  };
}

function inputSchema(input: InputSpec, order: number): Record<string, unknown> {
  const { title, description, advanced, group } = input;
  const words = { title, ...(description === undefined ? {} : { description }) };
  const hints = { order, advanced, ...optional("group", group) };
  switch (input.type) {
    case "string":
      return {
        ...words,
        type: "string",
        maxLength: input.maxLength,
        ...optional("default", input.default),
        "x-ui": { ...hints, multiline: input.multiline },
      };
    case "integer":
      // A seed that is left out is drawn, so that the value in the graph is an example and no default.
      return {
        ...words,
        type: "integer",
        ...bounds({ ...input, minimum: input.minimum ?? WHOLE_MIN, maximum: input.maximum ?? WHOLE_MAX }),
        ...(input.seed
          ? optional("examples", input.default === undefined ? undefined : [input.default])
          : optional("default", input.default)),
        "x-ui": { ...hints, seed: input.seed, ...optional("display", input.display) },
      };
    case "number":
      return {
        ...words,
        type: "number",
        ...bounds(input),
        ...optional("default", input.default),
        "x-ui": { ...hints, ...optional("display", input.display) },
      };
    case "boolean":
      return { ...words, type: "boolean", ...optional("default", input.default), "x-ui": hints };
    case "choice":
      return { ...words, enum: input.choices, ...optional("default", input.default), "x-ui": hints };
    case "file":
      return {
        ...words,
        type: "string",
        contentMediaType: MEDIA_TYPES[input.media],
        "x-ui": { ...hints, media: input.media },
      };
    default:
      throw new Error(`unhandled: ${JSON.stringify(input satisfies never)}`);
  }
}

function bounds(input: InputSpec & { type: "integer" | "number" }): Record<string, unknown> {
  return {
    ...optional("minimum", input.minimum),
    ...optional("maximum", input.maximum),
    ...optional("x-step", input.step),
  };
}

function optional(key: string, value: unknown): Record<string, unknown> {
  return value === undefined ? {} : { [key]: value };
}

const OUTPUT_MEDIA_TYPES: Readonly<Record<OutputSpec["kind"], string>> = {
  image: "image/*",
  video: "video/*",
  audio: "audio/*",
  text: "text/plain",
  model3d: "model/*",
  file: "application/octet-stream",
};

/**
 * The schema of a job's `outputs`: a list of files, each saying which output it belongs to. A node may save any number
 * of them, and the kind that is expected may not be the one that comes: the file's own `kind` counts.
 */
export function outputsJsonSchema(outputs: readonly OutputSpec[]): Record<string, unknown> {
  return {
    $schema: DIALECT,
    type: "array",
    items: {
      oneOf: outputs.map(({ name, title, kind, temporary }, order) => ({
        title,
        type: "object",
        properties: {
          name: { type: "string" },
          output: { const: name },
          kind: { enum: OutputKind.options, examples: [kind] },
          filename: { type: "string" },
          content_type: { type: "string" },
          size: { type: "integer", minimum: 0 },
          sha256: { type: "string", pattern: "^[0-9a-f]{64}$" },
          url: { type: "string", format: "uri-reference", contentMediaType: OUTPUT_MEDIA_TYPES[kind] },
          text: { type: "string" },
        },
        required: ["name", "output", "kind", "filename", "content_type", "size", "sha256", "url"],
        "x-ui": { order, kind, temporary },
      })),
    },
  };
}
