/** What the pictures of a run must be, byte for byte: made by a stand-in that nothing happens to. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { until } from "#test/until";
import { graphOf } from "./workload.ts";

const STAND_IN = fileURLToPath(new URL("../../gpu-agent/stand-in/main.ts", import.meta.url));
/** Pictures of one prompt: together they cost one round trip. */
const PICTURES_AT_ONCE = 100;

export interface ReferencePictures {
  /** sha256 by colour. */
  readonly colors: ReadonlyMap<number, string>;
  /** sha256 by the photo's number. */
  readonly photos: readonly string[];
}

/**
 * @param folder gets the stand-in's files; removed afterwards
 * @param photos PNG files as callers upload them
 */
export async function referencePictures(
  folder: string,
  colors: readonly number[],
  photos: readonly Buffer[],
): Promise<ReferencePictures> {
  await mkdir(join(folder, "input"), { recursive: true });
  for (const [number, bytes] of photos.entries()) await writeFile(join(folder, "input", `${number}.png`), bytes);
  const standIn = await start(folder);
  try {
    const byColor = new Map<number, string>();
    for (let at = 0; at < colors.length; at += PICTURES_AT_ONCE) {
      const some = colors.slice(at, at + PICTURES_AT_ONCE);
      const graph: Record<string, unknown> = {};
      for (const [number, color] of some.entries()) {
        const { 1: empty } = graphOf(color);
        graph[`${number}a`] = empty;
        graph[`${number}b`] = saved(`${number}a`, `color-${color}`);
      }
      await runPrompt(standIn.url, graph);
    }
    const graph: Record<string, unknown> = {};
    for (const number of photos.keys()) {
      graph[`${number}a`] = { class_type: "LoadImage", inputs: { image: `${number}.png` } };
      graph[`${number}b`] = saved(`${number}a`, `photo-${number}`);
    }
    await runPrompt(standIn.url, graph);
    const ofPhotos: string[] = [];
    for (const name of await readdir(join(folder, "output"))) {
      const match = /^(color|photo)-([0-9]+)_/.exec(name);
      if (match === null) continue;
      const sha256 = createHash("sha256")
        .update(await readFile(join(folder, "output", name)))
        .digest("hex");
      if (match[1] === "color") byColor.set(Number(match[2]), sha256);
      else ofPhotos[Number(match[2])] = sha256;
    }
    return { colors: byColor, photos: ofPhotos };
  } finally {
    const ended = once(standIn.process, "exit");
    standIn.process.kill("SIGKILL");
    await ended;
    await rm(folder, { recursive: true, force: true });
  }
}

const saved = (from: string, prefix: string) => ({
  class_type: "SaveImage",
  inputs: { images: [from, 0], filename_prefix: prefix },
});

async function runPrompt(url: string, graph: Record<string, unknown>): Promise<void> {
  const answer = await fetch(`${url}/prompt`, { method: "POST", body: JSON.stringify({ prompt: graph }) });
  if (!answer.ok) throw new Error(`the reference stand-in refuses a prompt: ${await answer.text()}`);
  const { prompt_id } = (await answer.json()) as { prompt_id: string };
  await until("the reference prompt has run", async () => {
    const history = (await (await fetch(`${url}/history/${prompt_id}`)).json()) as Record<string, unknown>;
    return history[prompt_id];
  });
}

async function start(folder: string): Promise<{ process: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [STAND_IN, "--port", "0", "--base-directory", folder, "--disable-metadata"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const { port } = JSON.parse(line) as { port: number };
  return { process: child, url: `http://127.0.0.1:${port}` };
}
