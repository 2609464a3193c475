/**
 * The whole edge on one machine: the Worker, its objects, D1 and R2 in workerd, all state below one folder.
 *
 * This is the one module that knows Miniflare. Requests reach the Worker through workerd's own socket, not through
 * Miniflare's entry worker, which would cost a third of the throughput.
 */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Log, LogLevel, Miniflare, type MiniflareOptions } from "miniflare";
import { type WorkerConfig, workerBundle } from "#cli/local/bundle";
import { applyMigrations, bootstrapCatalog } from "#cli/local/catalog";
import { EGRESS_WORKER, egressWorker } from "#cli/local/egress";
import { freePort } from "#cli/local/free-port";
import { killLeftovers, ownedEnvironment } from "#cli/local/leftovers";
import {
  Credentials,
  makeStateFolder,
  RunningServer,
  readJsonFile,
  Secrets,
  type StateFolder,
  writeJsonFile,
} from "#cli/local/state-folder";
import { type StateLock, takeStateLock } from "#cli/local/state-lock";
import { makeSecret } from "#contract/access";
import { KeyId, makeId, ownerKey, PodId, WorkspaceId } from "#contract/ids";

/** The local server listens for this machine alone. */
const HOST = "127.0.0.1";
const SIGNING_SECRET_BYTES = 32;
/** Where Miniflare serves files that belong to no route. */
const ASSETS_WORKER = "assets";

export interface LocalServerOptions {
  readonly projectRoot: string;
  readonly state: StateFolder;
  /** The wanted port; the next free one is taken when another program has it. 0: any. */
  readonly port: number;
  /** A developer's machine: the server may fetch from and post to loopback addresses when a caller's URL says so. */
  readonly allowLoopbackUrls: boolean;
  /** Settings and secrets of the deployment beside those of wrangler.toml, such as HF_TOKEN. */
  readonly vars?: Readonly<Record<string, string>>;
  /** One line for people: what is being done, or what went wrong. */
  readonly report: (line: string) => void;
}

export interface LocalServer {
  readonly url: string;
  readonly credentials: Credentials;
  /** The key was made by this start. */
  readonly isFirstStart: boolean;
  /** Ends it; requests in flight are cut, as by a kill, which loses nothing. */
  stop(): Promise<void>;
}

/** Another process serves this state folder. */
export class ServerRunning extends Error {
  readonly running: RunningServer | null;
  constructor(state: StateFolder, running: RunningServer | null) {
    const who = running === null ? "Another server" : `The server at ${running.url} (process ${running.pid})`;
    super(`${who} uses ${state.root}`);
    this.name = "ServerRunning";
    this.running = running;
  }
}

/**
 * Starts the server, or goes on where a killed one stopped.
 * @throws ServerRunning when a living process has the state folder; Error with a sentence otherwise
 */
export async function startLocalServer(options: LocalServerOptions): Promise<LocalServer> {
  const { state, report } = options;
  await makeStateFolder(state);
  const lock = takeStateLock(state.lock);
  if (lock === null) throw new ServerRunning(state, await readJsonFile(state.server, RunningServer));
  try {
    return await startLocked(options, lock);
  } catch (error) {
    report("The server did not start.");
    lock.release();
    throw error;
  }
}

async function startLocked(options: LocalServerOptions, lock: StateLock): Promise<LocalServer> {
  const { projectRoot, state, report } = options;
  const leftovers = await killLeftovers(state.root, "runtime");
  if (leftovers.length > 0) report(`Ended what a killed server left behind (process ${leftovers.join(", ")}).`);
  // What Miniflare keeps here is of use to one run only.
  await rm(state.temporary, { recursive: true, force: true });
  await rm(state.server, { force: true });
  await makeStateFolder(state);

  const { credentials, isFirstStart } = await firstWorkspace(state);
  const { signing_secret } = await secretsOf(state);
  const bundle = await workerBundle(projectRoot);
  const port = await freePort(HOST, options.port);
  if (options.port !== 0 && port !== options.port) {
    report(`Port ${options.port} is taken by another program; using ${port}. PILOTLIGHT_PORT chooses one.`);
  }
  const miniflare = new Miniflare(
    miniflareOptions({
      projectRoot,
      state,
      port,
      bundle,
      vars: {
        ...bundle.config.vars,
        ...options.vars,
        ALLOW_LOOPBACK_URLS: String(options.allowLoopbackUrls),
        PUBLIC_URL: `http://${HOST}:${port}`,
        SIGNING_SECRET: signing_secret,
      },
      allowLoopbackUrls: options.allowLoopbackUrls,
      report,
    }),
  );
  try {
    await miniflare.ready;
    const [catalog] = bundle.config.d1_databases;
    if (catalog === undefined) throw new Error("wrangler.toml names no D1 database");
    const database = await miniflare.getD1Database(catalog.binding, bundle.config.name);
    await applyMigrations(database, join(projectRoot, catalog.migrations_dir));
    await bootstrapCatalog(database, credentials);
    const url = `http://${HOST}:${port}`;
    await writeJsonFile(state.server, { url, pid: process.pid, started_at: new Date().toISOString() });
    return {
      url,
      credentials,
      isFirstStart,
      stop: async () => {
        await rm(state.server, { force: true });
        await miniflare.dispose();
        lock.release();
      },
    };
  } catch (error) {
    await miniflare.dispose();
    throw error;
  }
}

/** Reads or chooses the ids and the key of the first workspace. */
async function firstWorkspace(state: StateFolder): Promise<{ credentials: Credentials; isFirstStart: boolean }> {
  const known = await readJsonFile(state.credentials, Credentials);
  if (known !== null) return { credentials: known, isFirstStart: false };
  const now = Date.now();
  const workspaceId = makeId(WorkspaceId, "ws", now, randomBytes);
  const credentials: Credentials = {
    workspace_id: workspaceId,
    pod_id: makeId(PodId, "pod", now, randomBytes),
    key_id: makeId(KeyId, "key", now, randomBytes, ownerKey(workspaceId)),
    key: makeSecret("pl", randomBytes),
    created_at: new Date(now).toISOString(),
  };
  await writeJsonFile(state.credentials, credentials);
  return { credentials, isFirstStart: true };
}

/** Reads or draws the secret that signs links and sessions: another one would make all of them void. */
async function secretsOf(state: StateFolder): Promise<{ signing_secret: string }> {
  const known = await readJsonFile(state.secrets, Secrets);
  if (known !== null) return known;
  const fresh = { signing_secret: randomBytes(SIGNING_SECRET_BYTES).toString("hex") };
  await writeJsonFile(state.secrets, fresh);
  return fresh;
}

interface Plan {
  readonly projectRoot: string;
  readonly state: StateFolder;
  readonly port: number;
  readonly bundle: { readonly config: WorkerConfig; readonly script: string; readonly sourceMap: string };
  readonly vars: Readonly<Record<string, string>>;
  readonly allowLoopbackUrls: boolean;
  readonly report: (line: string) => void;
}

/** wrangler.toml and this machine, in Miniflare's words. */
function miniflareOptions({
  projectRoot,
  state,
  port,
  bundle,
  vars,
  allowLoopbackUrls,
  report,
}: Plan): MiniflareOptions {
  const { config } = bundle;
  const env: NonNullable<MiniflareOptions["workers"][number]["config"]["env"]> = {
    [config.assets.binding]: { type: "worker", worker: ASSETS_WORKER },
  };
  for (const { name, class_name } of config.durable_objects.bindings) {
    env[name] = { type: "durable-object", worker: config.name, exportName: class_name };
  }
  for (const { binding, database_id } of config.d1_databases) env[binding] = { type: "d1", id: database_id };
  for (const { binding, bucket_name } of config.r2_buckets) env[binding] = { type: "r2", name: bucket_name };
  for (const [name, value] of Object.entries(vars)) env[name] = { type: "text", value };
  const common = {
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
  };
  return {
    // Miniflare's own way in, with its debugging routes, stays on a port of its own and unused.
    host: HOST,
    port: 0,
    logRequests: false,
    log: new RuntimeLog(report),
    // Without this, Miniflare asks Cloudflare where this machine is.
    cf: false,
    resourcePersistencePath: state.data,
    resourceTmpPath: state.temporary,
    unsafeRuntimeEnv: ownedEnvironment(state.root, "runtime"),
    telemetry: { enabled: false },
    // The registry of other local Workers opens a debugging port.
    enableDevRegistry: false,
    workers: [
      {
        config: {
          ...common,
          name: config.name,
          manifest: {
            mainModule: "main.js",
            modules: {
              "main.js": { type: "esm", contents: bundle.script },
              "main.js.map": { type: "sourcemap", contents: bundle.sourceMap },
            },
          },
          env,
          exports: Object.fromEntries(
            config.durable_objects.bindings.map(({ class_name }) => [
              class_name,
              { type: "durable-object", storage: "sqlite" } as const,
            ]),
          ),
        },
        dev: {
          unsafeDirectSockets: [{ host: HOST, port }],
          outboundService: { type: "worker", worker: EGRESS_WORKER },
        },
      },
      egressWorker(common, allowLoopbackUrls),
      {
        // The assets live in a worker of their own: beside the Worker, each request would pass a router first.
        config: {
          ...common,
          name: ASSETS_WORKER,
          assets: { directory: join(projectRoot, config.assets.directory) },
          manifest: {
            mainModule: "assets.js",
            modules: {
              "assets.js": {
                type: "esm",
                contents: "export default { fetch: () => new Response(null, { status: 404 }) };",
              },
            },
          },
        },
      },
    ],
  };
}

/** Miniflare's own words: warnings (workerd died and was started again) and errors. */
class RuntimeLog extends Log {
  readonly #report: (line: string) => void;
  constructor(report: (line: string) => void) {
    super(LogLevel.WARN);
    this.#report = report;
  }
  protected override log(message: string): void {
    this.#report(message);
  }
}
