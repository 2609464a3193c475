/**
 * Records what a real ComfyUI makes of the pixel cases: the start of the SHA-256 of each case's pixels.
 * Run as `node test/gpu-agent/stand-in/nodes/record-pixels.ts http://127.0.0.1:8188 > pixel-recordings.json`.
 */
import { createHash } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import sharp from "sharp";
import { isJsonObject, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { inputPictures, pixelCases } from "./pixel-cases.ts";

/** Hexadecimal digits kept of each hash. */
export const DIGITS = 16;
const POLL_MS = 500;

/** The hash of decoded pixels, size included. */
export async function pixelHash(files: readonly (Uint8Array | string)[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    hash.update(`${info.width}x${info.height}x${info.channels}`).update(data);
  }
  return hash.digest("hex").slice(0, DIGITS);
}

async function get(url: string): Promise<JsonObject> {
  const answer = parseExactJson(await (await fetch(url)).text(), { pythonNumbers: true });
  if (!isJsonObject(answer)) throw new TypeError(`${url} gave no object`);
  return answer;
}

async function record(server: string): Promise<Record<string, string>> {
  for (const [name, png] of await inputPictures()) {
    const form = new FormData();
    form.set("image", new Blob([new Uint8Array(png)]), name);
    form.set("overwrite", "true");
    await fetch(`${server}/upload/image`, { method: "POST", body: form });
  }
  const ids = new Map<string, string>();
  for (const [name, prompt] of Object.entries(pixelCases)) {
    const answer = await fetch(`${server}/prompt`, { method: "POST", body: stringifyExactJson({ prompt }) });
    const { prompt_id } = (await answer.json()) as { prompt_id?: string };
    if (prompt_id === undefined) throw new Error(`${name} was refused`);
    ids.set(name, prompt_id);
  }
  const hashes: Record<string, string> = {};
  for (const [name, id] of ids) {
    let entry = (await get(`${server}/history/${id}`))[id];
    for (; entry === undefined; entry = (await get(`${server}/history/${id}`))[id]) await wait(POLL_MS);
    const outputs = isJsonObject(entry) && isJsonObject(entry.outputs) ? entry.outputs.save : undefined;
    const images = isJsonObject(outputs) && Array.isArray(outputs.images) ? outputs.images : [];
    if (images.length === 0) throw new Error(`${name} gave no picture`);
    const files: Uint8Array[] = [];
    for (const image of images.filter(isJsonObject)) {
      const query = new URLSearchParams({ filename: String(image.filename), subfolder: String(image.subfolder) });
      files.push(new Uint8Array(await (await fetch(`${server}/view?${query}`)).arrayBuffer()));
    }
    hashes[name] = await pixelHash(files);
  }
  return hashes;
}

const [, program, server] = process.argv;
if (server !== undefined && program?.endsWith("record-pixels.ts") === true) {
  process.stdout.write(`${JSON.stringify(await record(server), null, 2)}\n`);
}
