/** Where a model is imported from: an https address, a file of a Hugging Face repository, a version on Civitai. */

export type ModelOrigin =
  | { readonly kind: "https"; readonly url: string }
  | {
      readonly kind: "hf";
      /** `owner/name`. */
      readonly repository: string;
      readonly revision: string;
      /** Below the repository, with `/` between its parts. */
      readonly path: string;
    }
  | { readonly kind: "civitai"; readonly version: string };

export const MODEL_SOURCE_FORMS =
  "https://host/file.safetensors, hf:owner/name@revision/path/file.safetensors or civitai:<version id>";

const HF = /^hf:([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})@([A-Za-z0-9][\w.-]{0,127})\/([^\s?#\\]+)$/;
const CIVITAI = /^civitai:([0-9]{1,15})$/;

/** Reads a source; null when it has none of the forms. An https address is judged further by whoever fetches it. */
export function parseModelSource(text: string): ModelOrigin | null {
  const hf = HF.exec(text);
  if (hf?.[1] !== undefined && hf[2] !== undefined && hf[3] !== undefined) {
    const isPlain = hf[3].split("/").every((part) => part !== "" && part !== "." && part !== "..");
    return isPlain ? { kind: "hf", repository: hf[1], revision: hf[2], path: hf[3] } : null;
  }
  const version = CIVITAI.exec(text)?.[1];
  if (version !== undefined) return { kind: "civitai", version };
  // A developer's machine takes http from itself; the one guard of addresses decides.
  return /^https?:\/\/\S+$/i.test(text) ? { kind: "https", url: text } : null;
}

/** The address of a file of a repository. @param endpoint of the service, without a slash at its end */
export function hfAddress(endpoint: string, origin: Extract<ModelOrigin, { kind: "hf" }>): string {
  const path = origin.path.split("/").map(encodeURIComponent).join("/");
  return `${endpoint}/${origin.repository}/resolve/${encodeURIComponent(origin.revision)}/${path}`;
}

/** The address that describes a version and its files. @param endpoint of the service, without a slash at its end */
export function civitaiAddress(endpoint: string, origin: Extract<ModelOrigin, { kind: "civitai" }>): string {
  return `${endpoint}/api/v1/model-versions/${origin.version}`;
}

/** The source as it is shown: the query of an address may hold a token or a signature, so it is left out. */
export function shownSource(text: string): string {
  return /^https?:/i.test(text) ? (text.split(/[?#]/, 1)[0] ?? text) : text;
}

/** The name that a source suggests for its file; undefined when it says none. */
export function suggestedFilename(text: string): string | undefined {
  const origin = parseModelSource(text);
  if (origin === null || origin.kind === "civitai") return undefined;
  const path = origin.kind === "hf" ? origin.path : (URL.parse(origin.url)?.pathname ?? "");
  const last = path.split("/").at(-1) ?? "";
  try {
    const name = origin.kind === "hf" ? last : decodeURIComponent(last);
    return name === "" ? undefined : name;
  } catch {
    return undefined;
  }
}
