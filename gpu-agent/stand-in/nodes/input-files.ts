/** Names of input files as they stand in prompts: `sub/name.png`, or `name.png [output]`. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { type Folders, NodeError, type NodeImplementation, type NodeInputs } from "../node.ts";
import { textOf } from "./inputs.ts";

const FOLDER_MARKS = [
  [" [output]", "output"],
  [" [input]", "input"],
  [" [temp]", "temp"],
] as const;

/**
 * The absolute path of an input file; undefined for a name that leads out of its folder, which ComfyUI would follow
 * and this server does not.
 */
export function inputPath(name: string, folders: Folders): string | undefined {
  const mark = FOLDER_MARKS.find(([ending]) => name.endsWith(ending));
  const root = folders[mark?.[1] ?? "input"];
  const file = path.resolve(root, mark === undefined ? name : name.slice(0, -mark[0].length));
  return file === root || file.startsWith(`${root}${path.sep}`) ? file : undefined;
}

/**
 * As above, for a node that is already running.
 * @throws NodeError FileNotFoundError
 */
export function existingInputPath(name: string, folders: Folders): string {
  const file = inputPath(name, folders);
  if (file === undefined) throw new NodeError("FileNotFoundError", `[Errno 2] No such file or directory: '${name}'`);
  return file;
}

/** VALIDATE_INPUTS of the loaders: the named file must exist. */
export function fileMustExist(input: string, kind: string): NonNullable<NodeImplementation["validate"]> {
  return {
    names: [input],
    check: async (inputs, folders) => {
      const name = textOf(inputs, input);
      const file = inputPath(name, folders);
      const exists = file !== undefined && (await stat(file).catch(() => undefined)) !== undefined;
      return exists ? true : `Invalid ${kind} file: ${name}`;
    },
  };
}

/** IS_CHANGED of the loaders: the SHA-256 of the file, so that a file of the same name is read again. */
export function contentFingerprint(input: string): NonNullable<NodeImplementation["fingerprint"]> {
  return async (inputs: NodeInputs, folders: Folders) => {
    const hash = createHash("sha256");
    await pipeline(createReadStream(existingInputPath(textOf(inputs, input), folders)), hash);
    return hash.digest("hex");
  };
}
