/** A whole agent in this process, between the fake control plane and a real stand-in process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EndpointId, JobId, ReplicaId } from "#contract/ids";
import type { InputSpec, OutputSpec } from "#contract/workflow";
import { runAgent } from "#gpu-agent/main";
import { AgentSettings, type ComfySettings, type Timings } from "#gpu-agent/settings";
import { ControlPlane, type ControlPlaneOptions } from "#test/fakes/control-plane";
import type { FakeJob } from "#test/fakes/control-plane-state";
import { comesTrue, quickTimings } from "#test/gpu-agent/quick-timings";

export interface HarnessOptions {
  readonly comfy?: ComfySettings;
  readonly plane?: ControlPlaneOptions;
  readonly timings?: Partial<Timings>;
  readonly settings?: Partial<AgentSettings>;
  /** The agent is not started yet: `startAgent` does it. */
  readonly lateStart?: boolean;
}

export class AgentHarness {
  readonly plane: ControlPlane;
  readonly stateDirectory = mkdtempSync(join(tmpdir(), "pilotlight-agent-"));
  readonly lines: { event: string; fields: object }[] = [];
  readonly #options: HarnessOptions;
  #drain = new AbortController();
  #hurry = new AbortController();
  #running: Promise<void> = Promise.resolve();

  static async start(options: HarnessOptions = {}): Promise<AgentHarness> {
    const plane = await ControlPlane.start({ heartbeatMs: 500, ...options.plane });
    const harness = new AgentHarness(plane, options);
    if (options.lateStart !== true) harness.startAgent();
    return harness;
  }

  private constructor(plane: ControlPlane, options: HarnessOptions) {
    this.plane = plane;
    this.#options = options;
  }

  get settings(): AgentSettings {
    return AgentSettings.parse({
      url: this.plane.url,
      joinToken: this.plane.joinToken,
      name: "a node",
      stateDirectory: this.stateDirectory,
      comfy: this.#options.comfy ?? { kind: "stand-in", args: [] },
      slots: 1,
      freeBytesMin: 0,
      ...this.#options.settings,
      timings: quickTimings(this.#options.timings),
    });
  }

  startAgent(): void {
    this.#drain = new AbortController();
    this.#hurry = new AbortController();
    const log = (event: string, fields: object = {}) => void this.lines.push({ event, fields });
    this.#running = runAgent(
      this.settings,
      { drain: this.#drain.signal, hurry: this.#hurry.signal },
      { log, runProgram: () => Promise.reject(new Error("no nvidia-smi here")) },
    );
    // Awaited when it is stopped.
    this.#running.catch(() => undefined);
  }

  drain(): void {
    this.#drain.abort(new Error("SIGTERM"));
  }

  hurry(): void {
    this.#hurry.abort(new Error("second signal"));
  }

  /** Resolves when the agent has ended. @throws what ended it */
  get ended(): Promise<void> {
    return this.#running;
  }

  async close(): Promise<void> {
    this.hurry();
    await this.#running.catch(() => undefined);
    await this.plane.close();
    rmSync(this.stateDirectory, { recursive: true, force: true });
  }

  /** An endpoint with one replica, ready for jobs. */
  async ready(graph: object, specs: Specs = {}): Promise<{ endpointId: EndpointId; replicaId: ReplicaId }> {
    const endpointId = this.plane.state.addEndpoint({
      graph: JSON.stringify(graph),
      inputs: specs.inputs ?? [],
      outputs: specs.outputs ?? [],
    });
    const replicaId = this.plane.state.place(endpointId, 0);
    await comesTrue("the replica is ready", () => this.stateOf(replicaId) === "ready");
    return { endpointId, replicaId };
  }

  /** The last state that the replica reported. */
  stateOf(replicaId: ReplicaId): string | undefined {
    return this.plane.state.replicas.get(replicaId)?.reports.at(-1)?.state;
  }

  /** Until a job is in one of these states. */
  async jobIs(jobId: JobId, ...states: string[]): Promise<FakeJob> {
    const job = this.plane.state.jobs.get(jobId);
    if (job === undefined) throw new Error("there is no such job");
    const terminal = ["succeeded", "failed", "canceled"];
    const wanted = `the job is ${states.join(" or ")}`;
    await comesTrue(wanted, () => states.includes(job.state) || terminal.includes(job.state), 110_000);
    if (!states.includes(job.state)) throw new Error(`${wanted}, but: ${job.state} ${JSON.stringify(job.errors)}`);
    return job;
  }

  /** The folder of the slot's ComfyUI: its input, output and temp folders lie below. */
  get slot(): string {
    return join(this.stateDirectory, "slots", "0");
  }

  /** The ComfyUI that was started last. */
  get comfyReady(): { port: number; pid: number } {
    const ready = this.lines.findLast((line) => line.event === "comfy_ready");
    if (ready === undefined) throw new Error("ComfyUI is not ready");
    return ready.fields as { port: number; pid: number };
  }

  /** Steers the stand-in's faults while it runs. */
  async faults(change: object): Promise<void> {
    const { port } = this.comfyReady;
    const response = await fetch(`http://127.0.0.1:${port}/stand-in/faults`, {
      method: "POST",
      body: JSON.stringify(change),
    });
    if (!response.ok) throw new Error(`the stand-in refused: ${await response.text()}`);
  }

  has(event: string): boolean {
    return this.lines.some((line) => line.event === event);
  }
}

export interface Specs {
  readonly inputs?: InputSpec[];
  readonly outputs?: OutputSpec[];
}

export const integerInput = (name: string, node: string, field: string): InputSpec => ({
  type: "integer",
  name,
  title: name,
  targets: [{ node, field }],
  required: false,
  advanced: false,
  seed: false,
});

export const stringInput = (name: string, node: string, field: string): InputSpec => ({
  type: "string",
  name,
  title: name,
  targets: [{ node, field }],
  required: false,
  advanced: false,
  multiline: false,
  maxLength: 10_000,
});

export const fileInput = (name: string, node: string, field: string): InputSpec => ({
  type: "file",
  name,
  title: name,
  targets: [{ node, field }],
  required: true,
  advanced: false,
  media: "image",
});

export const output = (name: string, node: string, more: Partial<OutputSpec> = {}): OutputSpec => ({
  name,
  title: name,
  node,
  kind: "image",
  temporary: false,
  ...more,
});

/** One picture in a colour, saved. */
export const pictureGraph = {
  "1": { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 0xff0000 } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "ComfyUI" } },
};
