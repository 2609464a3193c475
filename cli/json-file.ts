/** JSON that options name: files, and a running ComfyUI's description of its classes. */
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { readLocalFile } from "#cli/input-values";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";

const OBJECT_INFO_MS_MAX = 60_000;
const FILE_DEPTH_MAX = 64;

/** Options of commands that read a workflow, and what they mean. */
export const objectInfoOptions = {
  "object-info": { type: "string" },
  "comfyui-url": { type: "string" },
} as const;
export const objectInfoHelp = {
  "object-info": "a file with ComfyUI's GET /object_info: types and ranges of custom nodes",
  "comfyui-url": "a running ComfyUI to ask for it",
};

/** A description of classes, and where it was read. */
export interface GivenObjectInfo {
  readonly source: string;
  readonly classes: JsonObject;
}

/**
 * What `--object-info` or `--comfyui-url` names; undefined when neither was given.
 * @throws CliError `file_unreadable`
 */
export async function givenObjectInfo(call: Call): Promise<GivenObjectInfo | undefined> {
  const path = call.text("object-info");
  if (path !== undefined) return { source: path, classes: await readJsonFile(path, call.workingDirectory) };
  const url = call.text("comfyui-url");
  if (url === undefined) return undefined;
  const address = `${url.replace(/\/+$/, "")}/object_info`;
  return { source: address, classes: await fetchJsonObject(address) };
}

/**
 * The JSON object that an address of a ComfyUI answers with.
 * @throws CliError `file_unreadable`
 */
export async function fetchJsonObject(address: string): Promise<JsonObject> {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(OBJECT_INFO_MS_MAX) });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    return jsonObject(await response.text(), address);
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError("file_unreadable", `${address} cannot be read: ${why}`, undefined, { cause });
  }
}

/**
 * A file that holds one JSON object.
 * @throws CliError `file_unreadable`
 */
export async function readJsonFile(path: string, workingDirectory: string): Promise<JsonObject> {
  return jsonObject(new TextDecoder().decode(await readLocalFile(path, workingDirectory)), path);
}

function jsonObject(text: string, source: string): JsonObject {
  let value: unknown;
  try {
    value = parseExactJson(text, { pythonNumbers: true, depthMax: FILE_DEPTH_MAX });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError("file_unreadable", `${source} is not JSON: ${why}`, undefined, { cause });
  }
  if (!isJsonObject(value)) throw new CliError("file_unreadable", `${source} does not hold a JSON object`);
  return value;
}
