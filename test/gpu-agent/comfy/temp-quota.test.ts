import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { ComfySession } from "#gpu-agent/comfy/comfy-session";
import { keepTempSmall } from "#gpu-agent/comfy/temp-quota";

const { signal } = new AbortController();
let temp: string;
let freed: number;
beforeEach(() => {
  temp = mkdtempSync(join(tmpdir(), "pilotlight-temp-"));
  freed = 0;
  mkdirSync(join(temp, "sub"));
  for (const name of ["a.png", "sub/b.png"]) writeFileSync(join(temp, name), "x".repeat(100));
});
afterEach(() => rmSync(temp, { recursive: true, force: true }));

function session(folders: { input: string; output: string; temp: string } | null): ComfySession {
  const freeMemory = () => {
    // The files are still there when the cache that names them is dropped.
    expect(readdirSync(temp)).toContain("a.png");
    freed += 1;
    return Promise.resolve();
  };
  return { server: { folders }, http: { freeMemory } } as Partial<ComfySession> as ComfySession;
}
const files = () => readdirSync(temp, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());

it("leaves a small temp folder alone: ComfyUI's cache names what is in it", async () => {
  expect(await keepTempSmall(session({ input: "", output: "", temp }), 200, signal)).toBe(false);
  expect(files()).toHaveLength(2);
  expect(freed).toBe(0);
});

it("empties a large one, after the cache", async () => {
  expect(await keepTempSmall(session({ input: "", output: "", temp }), 199, signal)).toBe(true);
  expect(files()).toEqual([]);
  expect(freed).toBe(1);
});

it("has nothing to do with a ComfyUI that is not its own", async () => {
  expect(await keepTempSmall(session(null), 0, signal)).toBe(false);
});
