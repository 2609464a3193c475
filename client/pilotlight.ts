import type * as z from "zod";
import { type Health, health, Keys, me } from "#client/access";
import { Batches } from "#client/batches";
import { Builds } from "#client/builds";
import { Endpoints } from "#client/endpoints";
import { Files } from "#client/files";
import { GpuTypes } from "#client/gpu-types";
import { Jobs } from "#client/jobs";
import { Models } from "#client/models";
import { Nodes } from "#client/nodes";
import { Operations } from "#client/operations";
import { Outputs } from "#client/outputs";
import { Pods } from "#client/pods";
import { Queues } from "#client/queues";
import { Releases } from "#client/releases";
import { Replicas } from "#client/replicas";
import { Scalings } from "#client/scaling";
import { type CallOptions, type PilotlightOptions, Transport } from "#client/transport";
import { Usage } from "#client/usage";
import { Webhooks } from "#client/webhooks";
import type { Me } from "#contract/access";

/**
 * The Pilotlight API for TypeScript, on Web APIs alone: browsers, Node, Workers, Deno, Bun.
 *
 *     const pilotlight = new Pilotlight({ baseUrl: "http://127.0.0.1:8787", token: "pl_…" });
 *     const job = await pilotlight.jobs.submit("text-to-image", { inputs: { prompt: "a fox" } });
 *     for await (const event of pilotlight.jobs.events(job.id)) console.log(event.type);
 *     const ended = await pilotlight.jobs.get(job.id);
 *     for (const output of ended.outputs) await pilotlight.outputs.bytes({ job: job.id, output });
 *
 * Every call throws PilotlightError when it does not succeed. Calls that may be repeated are, with growing pauses, when
 * the answer is lost, 429 or 503; calls that make something carry an Idempotency-Key, so that it is made once. Whole numbers beyond 2^53 are bigints, in both directions.
 */
export class Pilotlight {
  readonly endpoints: Endpoints;
  readonly releases: Releases;
  readonly replicas: Replicas;
  readonly scaling: Scalings;
  readonly builds: Builds;
  readonly jobs: Jobs;
  readonly batches: Batches;
  readonly queues: Queues;
  readonly operations: Operations;
  readonly usage: Usage;
  readonly files: Files;
  readonly models: Models;
  readonly outputs: Outputs;
  readonly keys: Keys;
  readonly pods: Pods;
  readonly nodes: Nodes;
  readonly gpuTypes: GpuTypes;
  readonly webhooks: Webhooks;
  readonly #transport: Transport;

  constructor(options: PilotlightOptions) {
    const transport = new Transport(options);
    this.endpoints = new Endpoints(transport);
    this.releases = new Releases(transport);
    this.replicas = new Replicas(transport);
    this.scaling = new Scalings(transport);
    this.builds = new Builds(transport);
    this.jobs = new Jobs(transport);
    this.batches = new Batches(transport);
    this.queues = new Queues(transport);
    this.operations = new Operations(transport);
    this.usage = new Usage(transport);
    this.files = new Files(transport);
    this.models = new Models(transport);
    this.outputs = new Outputs(transport);
    this.keys = new Keys(transport);
    this.pods = new Pods(transport);
    this.nodes = new Nodes(transport);
    this.gpuTypes = new GpuTypes(transport);
    this.webhooks = new Webhooks(transport);
    this.#transport = transport;
  }

  /** Without a slash at its end. */
  get baseUrl(): string {
    return this.#transport.baseUrl;
  }

  me(options: CallOptions = {}): Promise<z.infer<typeof Me>> {
    return me(this.#transport, options);
  }

  health(options: CallOptions = {}): Promise<Health> {
    return health(this.#transport, options);
  }
}
