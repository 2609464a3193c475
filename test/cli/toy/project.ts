import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));

/** Makes a project folder around the toy Worker, with this repository's wrangler.toml and catalog migrations. */
export async function makeToyProject(): Promise<{ root: string; remove: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), "pilotlight-toy-"));
  const put = async (path: string, text: string) => {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), text);
  };
  await put("worker/main.ts", await readFile(join(REPOSITORY, "test/cli/toy/worker.ts"), "utf8"));
  await put("worker/assets/hello.txt", "hello");
  await put("worker/version.ts", "export const version = 1;\n");
  await put("package.json", JSON.stringify({ type: "module" }));
  await put("package-lock.json", "{}");
  await put("wrangler.toml", await readFile(join(REPOSITORY, "wrangler.toml"), "utf8"));
  await cp(join(REPOSITORY, "migrations/catalog"), join(root, "migrations/catalog"), { recursive: true });
  await symlink(join(REPOSITORY, "node_modules"), join(root, "node_modules"));
  return { root, remove: () => rm(root, { recursive: true, force: true }) };
}
