/** The Worker as one module, built by wrangler exactly as for a deployment, and kept until its sources change. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { cp, glob, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod";

/** What the local server needs to know of wrangler.toml. */
export const WorkerConfig = z.object({
  name: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  vars: z.record(z.string(), z.string()),
  durable_objects: z.object({ bindings: z.array(z.object({ name: z.string(), class_name: z.string() })) }),
  d1_databases: z.array(z.object({ binding: z.string(), database_id: z.string(), migrations_dir: z.string() })),
  r2_buckets: z.array(z.object({ binding: z.string(), bucket_name: z.string() })),
  assets: z.object({ directory: z.string(), binding: z.string() }),
});
export type WorkerConfig = z.infer<typeof WorkerConfig>;

export interface WorkerBundle {
  readonly config: WorkerConfig;
  /** Source text of the one ES module. */
  readonly script: string;
  readonly sourceMap: string;
}

const SOURCES = ["{contract,workflow,worker,durable-objects,migrations}/**/*.ts"];
const SETTINGS = ["wrangler.toml", "package.json", "package-lock.json"];
const BUNDLES_KEPT = 4;
const BUILD_MS_MAX = 120_000;
/** No build lasts this long. */
const DRAFT_MS_MAX = 3_600_000;

/**
 * Gives the bundle of the sources as they are now, building it when no earlier one fits. Several servers may start at
 * once: each builds in a folder of its own, and a finished one takes its place by a rename.
 * @param projectRoot the folder of wrangler.toml
 * @throws Error with wrangler's own words when the sources do not build
 */
export async function workerBundle(projectRoot: string): Promise<WorkerBundle> {
  const store = join(projectRoot, "dist", "worker");
  const folder = join(store, await sourceDigest(projectRoot));
  const known = await readBundle(folder);
  if (known !== null) {
    const now = new Date();
    await utimes(folder, now, now);
    return known;
  }
  const draft = join(store, `.draft-${process.pid}-${randomBytes(4).toString("hex")}`);
  await mkdir(draft, { recursive: true });
  try {
    await build(projectRoot, draft);
    await putInPlace(draft, folder);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  const built = await readBundle(folder);
  if (built === null) throw new Error(`${folder} is damaged; delete dist/worker and start again`);
  await forgetOldBundles(store);
  return built;
}

/** Another server may have been quicker with the same bundle; one that a power cut left half is replaced. */
async function putInPlace(draft: string, folder: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    const isThere = error instanceof Error && "code" in error && ["ENOTEMPTY", "EEXIST"].includes(String(error.code));
    if (!isThere) throw error;
    if ((await readBundle(folder)) !== null) return;
    await rm(folder, { recursive: true, force: true });
    await rename(draft, folder);
  }
}

/** Digest of everything the bundle is made of. */
async function sourceDigest(projectRoot: string): Promise<string> {
  const paths = [...SETTINGS];
  for await (const path of glob(SOURCES, { cwd: projectRoot })) paths.push(path);
  const hash = createHash("sha256");
  for (const path of paths.sort()) {
    const content = await readFile(join(projectRoot, path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex").slice(0, 32);
}

async function build(projectRoot: string, draft: string): Promise<void> {
  const wrangler = join(projectRoot, "node_modules", "wrangler", "bin", "wrangler.js");
  const configPath = join(projectRoot, "wrangler.toml");
  const output = join(draft, "wrangler");
  const child = promisify(execFile)(
    process.execPath,
    [wrangler, "deploy", "--dry-run", "--outdir", output, "--config", configPath],
    {
      cwd: projectRoot,
      timeout: BUILD_MS_MAX,
      maxBuffer: 16 * 1024 * 1024,
      // Nothing of this needs the network: no metrics, no banner with its look for a newer version, no log-in.
      env: {
        ...process.env,
        CI: "1",
        FORCE_COLOR: "0",
        WRANGLER_SEND_METRICS: "false",
        WRANGLER_HIDE_BANNER: "true",
        WRANGLER_LOG_PATH: join(draft, "wrangler.log"),
      },
    },
  );
  try {
    await child;
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
    throw new Error(`The Worker does not build:\n${said.trim() || String(error)}`, { cause: error });
  }
  const { unstable_readConfig } = await import("wrangler");
  const config = WorkerConfig.parse(unstable_readConfig({ config: configPath }, { hideWarnings: true }));
  await cp(join(output, "main.js"), join(draft, "main.js"));
  await cp(join(output, "main.js.map"), join(draft, "main.js.map"));
  await rm(output, { recursive: true });
  // Written last: a folder with it is whole.
  await writeFile(join(draft, "config.json"), JSON.stringify(config, null, 2));
}

async function readBundle(folder: string): Promise<WorkerBundle | null> {
  try {
    const [config, script, sourceMap] = await Promise.all(
      ["config.json", "main.js", "main.js.map"].map((name) => readFile(join(folder, name), "utf8")),
    );
    if (config === undefined || script === undefined || sourceMap === undefined) return null;
    return { config: WorkerConfig.parse(JSON.parse(config)), script, sourceMap };
  } catch {
    return null;
  }
}

/** Keeps the newest few, for those who go back and forth between branches; drafts of killed builders go too. */
async function forgetOldBundles(store: string): Promise<void> {
  const all = await readdir(store);
  for (const name of all.filter((each) => each.startsWith(".draft-"))) {
    const at = (await stat(join(store, name)).catch(() => null))?.mtimeMs ?? 0;
    if (Date.now() - at > DRAFT_MS_MAX) await rm(join(store, name), { recursive: true, force: true });
  }
  const names = all.filter((name) => /^[0-9a-f]{32}$/.test(name));
  const dated = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(store, name)).catch(() => null))?.mtimeMs ?? 0 })),
  );
  dated.sort((one, other) => other.at - one.at);
  for (const { name } of dated.slice(BUNDLES_KEPT)) await rm(join(store, name), { recursive: true, force: true });
}
