/** The whole server, put together from its settings and the nodes it has. */
import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Clients } from "./clients.ts";
import type { Settings } from "./command-line.ts";
import { Executions } from "./executions.ts";
import { Executor } from "./executor.ts";
import { Faults } from "./faults.ts";
import { GENERATIONS } from "./generations.ts";
import { History } from "./history.ts";
import { httpServer } from "./http-server.ts";
import type { Log } from "./log.ts";
import { ModelFolders, type ModelNames } from "./models.ts";
import { foldersUnder, NodeCatalog, type NodeClasses } from "./node-catalog.ts";
import { PromptQueue } from "./prompt-queue.ts";
import { routesOf } from "./routes.ts";
import { serverFeatures } from "./system-stats.ts";
import { work } from "./worker.ts";

/** What a stand-in can run. */
export interface NodeLibrary extends NodeClasses {
  readonly models: ModelNames;
}

export interface StandIn {
  readonly faults: Faults;
  /** Opens the ports. @returns the port of the first address */
  listen(): Promise<number>;
  /** Says goodbye to clients, stops listening and removes temporary files. */
  close(): Promise<void>;
}

/** @param crash ends the process as a crash does */
export function createStandIn(
  settings: Settings,
  library: NodeLibrary,
  baseDirectory: string,
  argv: readonly string[],
  log: Log,
  crash: () => never,
): StandIn {
  const generation = GENERATIONS[settings.generation];
  const folders = foldersUnder(baseDirectory, {
    ...(settings.inputDirectory === undefined ? {} : { input: settings.inputDirectory }),
    ...(settings.outputDirectory === undefined ? {} : { output: settings.outputDirectory }),
    // ComfyUI makes a folder of this name inside the one it is given, and empties it at both ends of its life.
    ...(settings.tempDirectory === undefined ? {} : { temp: path.join(settings.tempDirectory, "temp") }),
    ...(settings.modelsDirectory === undefined ? {} : { models: settings.modelsDirectory }),
  });
  rmSync(folders.temp, { recursive: true, force: true });
  for (const folder of [folders.input, folders.output, folders.temp]) mkdirSync(folder, { recursive: true });

  const faults = new Faults();
  faults.change(settings.faults);
  const models = new ModelFolders(
    folders.models,
    library.models,
    () => faults.state.missing_models,
    generation.hasMoreModelFolders,
  );
  const catalog = new NodeCatalog(library, models, folders, generation);
  const history = new History();
  const executions = new Executions();
  const queue: PromptQueue = new PromptQueue(() => clients.sendStatus());
  const clients: Clients = new Clients({
    features: serverFeatures(generation, settings.bodyBytesMax),
    queueRemaining: () => queue.remaining,
    currentNode: (clientId) => executor.currentNode(clientId),
    isSilent: () => faults.state.silent_socket,
  });
  const executor: Executor = new Executor({
    catalog,
    clients,
    faults,
    generation,
    cache: settings.cache,
    previews: settings.previews,
    previewSizeMax: settings.previewSizeMax,
    disableMetadata: settings.disableMetadata,
    crash,
    log: log.line,
  });
  const routes = routesOf({
    catalog,
    clients,
    executions,
    executor,
    faults,
    generation,
    history,
    models,
    queue,
    argv,
    bodyBytesMax: settings.bodyBytesMax,
    logLines: () => log.lines(),
  });
  const servers = settings.addresses.map(() =>
    httpServer(routes, {
      bodyBytesMax: settings.bodyBytesMax,
      corsOrigin: settings.corsOrigin,
      log: log.line,
      connect: (message, socket, head, clientId) => clients.connect(message, socket, head, clientId),
    }),
  );
  void work({ queue, history, executor, executions, clients, faults, log: log.line });

  return {
    faults,
    async listen() {
      let port = settings.port;
      for (const [index, server] of servers.entries()) {
        port = await listening(server, settings.addresses[index] ?? "127.0.0.1", port);
      }
      return port;
    },
    async close() {
      clients.closeAll();
      await Promise.all(servers.map(closed));
      rmSync(folders.temp, { recursive: true, force: true });
    },
  };
}

function listening(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, () => {
      server.removeListener("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
