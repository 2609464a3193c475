/**
 * Which files are taken as models. ComfyUI chooses the loader by the file's ending, and most loaders but that of
 * safetensors run code that is in the file, so it is the ending that is judged, and for safetensors the content as well.
 */
import { checkSafetensorsHeader, SAFETENSORS_PREFIX_BYTES, safetensorsHeaderLength } from "#contract/safetensors";
import { ModelFailure } from "./model-failure.ts";

/** `.sft` is the same format under a shorter name. */
const SAFETENSORS: ReadonlySet<string> = new Set(["safetensors", "sft"]);
/** Python's pickles, bare or in an archive: loading one runs what it says. */
const PICKLES: ReadonlySet<string> = new Set(["ckpt", "pt", "pt2", "pth", "bin", "pkl", "pickle"]);

/** A file's ending in lower case, without the dot; empty when it has none. */
export function formatOf(filename: string): string {
  return /\.([^./]+)$/.exec(filename)?.[1]?.toLowerCase() ?? "";
}

/**
 * @param allowUnsafe formats that are taken beside safetensors, as endings without the dot, such as pth
 * @throws ModelFailure format_refused
 */
export function checkFormat(filename: string, allowUnsafe: readonly string[]): void {
  const format = formatOf(filename);
  if (SAFETENSORS.has(format) || allowUnsafe.includes(format)) return;
  const risk = PICKLES.has(format)
    ? `.${format} files are Python pickles: loading one runs any code that is in it`
    : `${format === "" ? "a file without an ending" : `.${format}`} is not checked before it is loaded`;
  throw new ModelFailure(
    "format_refused",
    `${filename} is refused: ${risk}. Use a safetensors file, or allow the format ${JSON.stringify(format)} by name.`,
  );
}

/**
 * Checks the content of a file that calls itself safetensors; others pass.
 * @param read gives bytes of the file, fewer than asked for at its end
 * @throws ModelFailure bad_safetensors
 */
export async function checkContent(
  filename: string,
  fileBytes: number,
  read: (position: number, length: number) => Promise<Uint8Array>,
): Promise<void> {
  if (!SAFETENSORS.has(formatOf(filename))) return;
  const length = safetensorsHeaderLength(await read(0, SAFETENSORS_PREFIX_BYTES), fileBytes);
  if (!length.ok) throw bad(filename, length.reason);
  const verdict = checkSafetensorsHeader(await read(SAFETENSORS_PREFIX_BYTES, length.headerBytes), fileBytes);
  if (!verdict.ok) throw bad(filename, verdict.reason);
}

function bad(filename: string, reason: string): ModelFailure {
  return new ModelFailure(
    "bad_safetensors",
    `${filename} has its promised hash, but is no safetensors file. ${reason}`,
  );
}
