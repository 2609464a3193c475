/** Whether a caller's text may stand in the fields that get it: where those name a file, it must not lead elsewhere. */
import type { InputSpec } from "#contract/workflow";
import { inputFileFault, isFileName, isModelFile, modelFileFault } from "./file-names.ts";
import { nameKind, plainField } from "./text-uses.ts";

/** ComfyUI cuts these off a name and reads that folder, which other jobs write to. */
const FOLDER_ENDING = /\[(input|output|temp)\]\s*$/i;
/** Windows opens a device under each of these names, in any folder and with any extension. */
const DEVICE = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\.|:|$)/i;
const WEB_ADDRESS = /^https?:\/\//i;
const ANY_ADDRESS = /^[a-z][a-z0-9+.-]*:\/\//i;

/**
 * What is wrong with a text as the name of a file, in words; undefined when it is none or a good one. Only the fields
 * it is bound to, and those that get it through links, decide whether it is a name: a prompt may say `../` as it likes.
 */
export function fileNameFault(input: InputSpec & { type: "string" }, text: string): string | undefined {
  const { default: usual = "" } = input;
  const fields = input.targets.map(({ field }) => field);
  const isModel = input.names === "model" || fields.some((field) => isModelFile(plainField(field), usual));
  const isFile = input.names === "file" || fields.some((field) => nameKind(field) === "file") || isFileName(usual);
  if (text === "" || (!isModel && !isFile)) return undefined;
  const fault = (isModel ? modelFileFault(text) : inputFileFault(text)) ?? trickFault(text);
  return fault === undefined ? undefined : `As the name of a file, it ${fault}.`;
}

function trickFault(name: string): string | undefined {
  if (FOLDER_ENDING.test(name)) return "names one of ComfyUI's folders in brackets; give the name alone";
  if (WEB_ADDRESS.test(name)) return undefined;
  if (ANY_ADDRESS.test(name)) return "is an address that is neither http nor https";
  const parts = name.split(/[\\/]/);
  if (parts.some((part) => DEVICE.test(part.trim()))) return "is the name of a device";
  return undefined;
}
