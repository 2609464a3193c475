import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";

const run = promisify(execFile);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-start-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** What Node says of the modules that it keeps, in a start of the command line. */
async function start(env: NodeJS.ProcessEnv): Promise<string> {
  const { NODE_COMPILE_CACHE: _, ...rest } = process.env;
  const { stdout, stderr } = await run(process.execPath, ["cli/main.ts", "--version"], {
    env: { ...rest, ...env, NODE_DEBUG_NATIVE: "COMPILE_CACHE" },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout + stderr;
}

const TAKEN = /code cache for ESM \S*\/cli\/run-command\.ts was accepted/;

it("takes its modules from where an earlier start put them", async () => {
  await start({ NODE_COMPILE_CACHE: folder });
  expect(await start({ NODE_COMPILE_CACHE: folder })).toMatch(TAKEN);
});

it("keeps them in the project's own folder, where nobody else writes", async () => {
  await start({});
  const said = await start({});
  expect(said).toContain(join(process.cwd(), "dist", "compile-cache"));
  expect(said).toMatch(TAKEN);
});

it("starts where they cannot be kept", async () => {
  const file = join(folder, "file");
  await writeFile(file, "");
  expect(await start({ NODE_COMPILE_CACHE: join(file, "below") })).not.toMatch(TAKEN);
});
