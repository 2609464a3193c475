/** Where a node's files go and what they are called: ComfyUI's `filename_prefix` rules. */
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { JsonObject } from "#contract/exact-json";
import { NodeError } from "../node.ts";

/** A file as `executed` and the history name it. */
export type SavedFile = { readonly filename: string; readonly subfolder: string; readonly type: string } & JsonObject;

/** A folder, a name and a counter that no file there has yet. */
export interface SavePlan {
  readonly folder: string;
  readonly name: string;
  readonly subfolder: string;
  /** The first free number. */
  readonly counter: number;
}

/**
 * Decides where files with this prefix go and makes the folder.
 * @param root absolute output or temp folder
 * @param size what `%width%` and `%height%` stand for
 * @throws NodeError Exception, in ComfyUI's words, when the prefix leads out of the folder
 */
export async function planSave(
  prefix: string,
  root: string,
  size: { readonly width: number; readonly height: number } = { width: 0, height: 0 },
  now: Date = new Date(),
): Promise<SavePlan> {
  const filled = prefix.includes("%") ? fillTokens(prefix, size, now) : prefix;
  const normal = path.posix.normalize(filled).replace(/(?<=.)\/+$/, "");
  const subfolder = parentOf(normal);
  const name = lastPartOf(normal);
  const folder = path.resolve(root, subfolder);
  if (folder !== root && !folder.startsWith(root.endsWith("/") ? root : `${root}/`)) {
    throw new NodeError(
      "Exception",
      "**** ERROR: Saving image outside the output folder is not allowed." +
        `\n full_output_folder: ${folder}\n         output_dir: ${root}\n         commonpath: ${commonPath(root, folder)}`,
    );
  }
  const highest = await highestCounter(folder, name, lastPartOf(filled).length);
  if (highest === undefined) await mkdir(folder, { recursive: true });
  return { folder, name, subfolder, counter: (highest ?? 0) + 1 };
}

/** Writes one file of a plan; `index` counts the files of this save. */
export async function saveFile(
  plan: SavePlan,
  index: number,
  extension: string,
  type: "output" | "temp",
  bytes: Uint8Array,
): Promise<SavedFile> {
  const counter = String(plan.counter + index).padStart(5, "0");
  const filename = `${plan.name.replaceAll("%batch_num%", String(index))}_${counter}_.${extension}`;
  await writeFile(path.join(plan.folder, filename), bytes);
  return { filename, subfolder: plan.subfolder, type };
}

const LETTERS = "abcdefghijklmnopqrstupvxyz";
const SALT = randomBytes(16);

/** `_temp_` and five letters that a node keeps while the server runs, as its object in the real server does. */
export function tempSuffix(nodeId: string): string {
  const digest = createHash("sha256").update(SALT).update(nodeId).digest();
  return `_temp_${[...digest.subarray(0, 5)].map((byte) => LETTERS[byte % LETTERS.length]).join("")}`;
}

function fillTokens(prefix: string, size: { width: number; height: number }, now: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const tokens: Readonly<Record<string, string>> = {
    "%width%": String(size.width),
    "%height%": String(size.height),
    "%year%": String(now.getFullYear()),
    "%month%": two(now.getMonth() + 1),
    "%day%": two(now.getDate()),
    "%hour%": two(now.getHours()),
    "%minute%": two(now.getMinutes()),
    "%second%": two(now.getSeconds()),
  };
  return Object.entries(tokens).reduce((text, [token, value]) => text.replaceAll(token, value), prefix);
}

/** Python's dirname and basename: what stands before and after the last slash, with no "." for nothing. */
function parentOf(file: string): string {
  const slash = file.lastIndexOf("/");
  return slash <= 0 ? file.slice(0, slash + 1) : file.slice(0, slash);
}

function lastPartOf(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1);
}

function commonPath(a: string, b: string): string {
  const left = a.split("/");
  const right = b.split("/");
  const differs = left.findIndex((part, i) => part !== right[i]);
  return left.slice(0, differs < 0 ? left.length : differs).join("/") || "/";
}

/** The largest number after `name_` in the folder, 0 when no file has one, undefined when there is no folder. */
async function highestCounter(folder: string, name: string, prefixLength: number): Promise<number | undefined> {
  let files: string[];
  try {
    files = await readdir(folder);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw cause;
  }
  const counters = files
    .filter((file) => file.slice(0, prefixLength + 1) === `${name}_`)
    .map((file) => file.slice(prefixLength + 1).split("_")[0] ?? "")
    .map((digits) => (/^\s*[+-]?[0-9]+(_?[0-9])*\s*$/.test(digits) ? Number(digits) : 0));
  return Math.max(0, ...counters);
}
