/** File names as workflows write them: `a.png [output]` says which folder the file is in. */
import path from "node:path";
import type { Folders } from "./node.ts";

export type FolderType = "output" | "input" | "temp";

const ENDINGS = [
  ["[output]", "output", 9],
  ["[input]", "input", 8],
  ["[temp]", "temp", 7],
] as const;

/** The bare name, and the folder its ending named. The space before the bracket goes with it. */
export function annotatedName(name: string): { readonly name: string; readonly type?: FolderType } {
  for (const [ending, type, length] of ENDINGS) {
    if (name.endsWith(ending)) return { name: name.slice(0, -length), type };
  }
  return { name };
}

export function folderOf(type: string, folders: Folders): string | undefined {
  return type === "output" || type === "input" || type === "temp" ? folders[type] : undefined;
}

/** True when a path is the folder or lies in it. Both must be absolute. */
export function isWithin(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative === "" || (relative !== ".." && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative));
}
