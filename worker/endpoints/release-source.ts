/** What a release was imported from, as the catalog keeps it, so that it can be imported again with other overrides. */
import { isJsonObject, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import type { PackedSource } from "#worker/catalog/releases";
import { inflate } from "#workflow/sources/inflate";

export interface WorkflowText {
  readonly text: string;
  /** A ViewComfy form of the graph. */
  readonly viewComfy?: JsonObject | undefined;
}

/** Shorter ones are kept as they are, for whoever looks into the catalog. */
const PLAIN_LENGTH_MAX = 16_384;
/** D1 refuses a row above 2 MB; a character may take three bytes in a plain part, which is far shorter. */
const SOURCE_PART_LENGTH = 1_500_000;
/** A workflow and its form, each as large as a request may be, and the escapes that JSON text needs inside JSON. */
const SOURCE_BYTES_MAX = 4 * WORKFLOW_BODY_BYTES_MAX;
/** A form is no deeper than the request it came in; this leaves room for what is around it. */
const FORM_DEPTH_MAX = 96;
/** A function call takes so many arguments without trouble. */
const ARGUMENTS_MAX = 32_768;

/** @throws Problem invalid_workflow when it takes more than can be kept */
export async function packSource({ text, viewComfy }: WorkflowText): Promise<PackedSource> {
  const whole = stringifyExactJson({ text, ...(viewComfy === undefined ? {} : { view_comfy: viewComfy }) });
  if (whole.length <= PLAIN_LENGTH_MAX) return { encoding: "text", parts: [whole] };
  const bytes = new TextEncoder().encode(whole);
  if (bytes.byteLength > SOURCE_BYTES_MAX) {
    throw new Problem(
      "invalid_workflow",
      `The workflow takes more than ${SOURCE_BYTES_MAX} bytes with its form; move texts and pictures out of it.`,
    );
  }
  const deflated = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = base64(new Uint8Array(await new Response(deflated).arrayBuffer()));
  const parts: string[] = [];
  for (let at = 0; at < packed.length; at += SOURCE_PART_LENGTH) parts.push(packed.slice(at, at + SOURCE_PART_LENGTH));
  return { encoding: "deflate", parts };
}

/** @throws Error when the catalog holds something else than {@link packSource} gave */
export async function unpackSource({ encoding, parts }: PackedSource): Promise<WorkflowText> {
  const joined = parts.join("");
  const whole = encoding === "text" ? joined : await inflated(joined);
  const source = parseExactJson(whole, { depthMax: FORM_DEPTH_MAX });
  if (!isJsonObject(source) || typeof source.text !== "string") throw new Error("a stored source has no text");
  return { text: source.text, viewComfy: isJsonObject(source.view_comfy) ? source.view_comfy : undefined };
}

async function inflated(packed: string): Promise<string> {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const whole = await inflate(bytes, "deflate", SOURCE_BYTES_MAX);
  if (whole === undefined) throw new Error("a stored source cannot be unpacked");
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(whole);
}

function base64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += ARGUMENTS_MAX) {
    binary += String.fromCharCode(...bytes.subarray(at, at + ARGUMENTS_MAX));
  }
  return btoa(binary);
}
