/** The local server's folder: where everything it keeps lies, and how its small files are read and written. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { KeyId, PodId, WorkspaceId } from "#contract/ids";

/** Absolute paths below one state folder. */
export interface StateFolder {
  readonly root: string;
  /** Miniflare's own layout: objects, D1, R2. */
  readonly data: string;
  readonly temporary: string;
  readonly lock: string;
  readonly secrets: string;
  readonly credentials: string;
  readonly server: string;
  /** The GPU agent that runs beside the server, and the token it joined with. */
  readonly agent: string;
  readonly joinToken: string;
  readonly serverLog: string;
  readonly agentLog: string;
}

/** The first workspace, its pod and its key: chosen once, before the database knows them, so that a crash in between loses nothing. */
export const Credentials = z.object({
  workspace_id: WorkspaceId,
  pod_id: PodId,
  key_id: KeyId,
  key: z.string(),
  created_at: z.iso.datetime(),
});
export type Credentials = z.infer<typeof Credentials>;

export const Secrets = z.object({ signing_secret: z.string().min(32) });

/** The token of the agent here. The same one each time, so that the agent stays the same node. */
export const SavedJoinToken = z.object({ token: z.string(), expires_at: z.iso.datetime() });

/** The server that runs now, if its lock is held. */
export const RunningServer = z.object({ url: z.string(), pid: z.int(), started_at: z.iso.datetime() });
export type RunningServer = z.infer<typeof RunningServer>;

/** The folder of package.json and wrangler.toml. */
export const PROJECT_ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The state folder of this call: PILOTLIGHT_STATE_DIR, or .pilotlight in the project. */
export function stateRootOf(env: NodeJS.ProcessEnv): string {
  const chosen = env.PILOTLIGHT_STATE_DIR ?? "";
  return resolve(chosen === "" ? join(PROJECT_ROOT, ".pilotlight") : chosen);
}

export function stateFolderAt(root: string): StateFolder {
  return {
    root,
    data: join(root, "data"),
    temporary: join(root, "tmp"),
    lock: join(root, "server.lock"),
    secrets: join(root, "secrets.json"),
    credentials: join(root, "credentials.json"),
    server: join(root, "server.json"),
    agent: join(root, "agent"),
    joinToken: join(root, "join-token.json"),
    serverLog: join(root, "server.log"),
    agentLog: join(root, "agent.log"),
  };
}

/** Makes the folders, closed to other users of the machine. */
export async function makeStateFolder(folder: StateFolder): Promise<void> {
  for (const path of [folder.root, folder.data, folder.temporary, folder.agent]) {
    await mkdir(path, { recursive: true, mode: 0o700 });
  }
}

/**
 * Reads a small JSON file.
 * @returns null when there is none
 * @throws Error naming the file when it does not hold what it should
 */
export async function readJsonFile<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${path} is damaged; move it away and start again`, { cause });
  }
}

/**
 * Writes a small JSON file whole or not at all, readable by its owner alone, and on disk when this returns: a kill or a
 * power cut leaves the old content or the new.
 */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  const temporary = join(dirname(path), `.${randomBytes(6).toString("hex")}.tmp`);
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // The rename itself lives in the folder.
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
