/** A GPU agent as a user runs it, with a stand-in that it starts itself, under a supervisor like systemd. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Child, startChild } from "#cli/local/child-process";
import { killLeftovers } from "#cli/local/leftovers";
import { killLeftovers as killComfyUis } from "#gpu-agent/comfy/host-process";
import { isSameProcess } from "#gpu-agent/process-identity";
import { readIdentity } from "#gpu-agent/state-directory";
import { TcpProxy } from "./tcp-proxy.ts";

const PROGRAM = fileURLToPath(new URL("../../gpu-agent/main.ts", import.meta.url));
/** As `RestartSec=` of a service. */
const RESTART_PAUSE_MS = 500;
const SLOTS = 2;
/** What `__slow__` costs a job. */
export const SLOW_MS = 1_500;
const COMFY_ARGS = [`--fault-slow-marker-ms`, String(SLOW_MS)];

export interface AgentPlan {
  readonly name: string;
  /** Gets its state, its logs and its stand-ins' files. */
  readonly folder: string;
  readonly joinToken: string;
  readonly target: () => { host: string; port: number };
  /** Flags of its stand-ins; when left out, slow jobs take SLOW_MS. */
  readonly comfyArgs?: readonly string[];
}

/** A job in an agent's hands, as its log tells. */
export interface JobInHand {
  readonly jobId: string;
  readonly leaseId: string;
  readonly slot: number;
  /** The ComfyUI that runs it. */
  readonly comfyPid: number;
}

export class AgentProcess {
  readonly name: string;
  readonly logFile: string;
  /** The wire between this agent and the server. */
  readonly proxy: TcpProxy;
  readonly #plan: AgentPlan;
  #child: Child | null = null;
  #stopping = false;
  #away = false;
  #readTo = 0;
  #rest = "";
  readonly #comfyPids = new Map<number, number>();
  readonly #inHand = new Map<string, JobInHand>();

  static async start(plan: AgentPlan): Promise<AgentProcess> {
    const agent = new AgentProcess(plan, await TcpProxy.start(plan.target));
    agent.#launch();
    return agent;
  }

  private constructor(plan: AgentPlan, proxy: TcpProxy) {
    this.#plan = plan;
    this.name = plan.name;
    this.proxy = proxy;
    this.logFile = join(plan.folder, "agent.log");
  }

  get pid(): number | null {
    const child = this.#child?.process;
    return child?.exitCode === null && child.signalCode === null ? (child.pid ?? null) : null;
  }

  get slotsFolder(): string {
    return join(this.#plan.folder, "state", "slots");
  }

  #launch(): void {
    const { folder, name, joinToken, comfyArgs = COMFY_ARGS } = this.#plan;
    const child = startChild({
      program: PROGRAM,
      args: [
        ...["--url", this.proxy.url, "--name", name, "--state-directory", join(folder, "state")],
        ...["--slots", String(SLOTS), "--stand-in", "--min-free-gb", "0.1", "--drain-seconds", "1"],
      ],
      env: {
        PILOTLIGHT_JOIN_TOKEN: joinToken,
        COMFYUI_ARGS: comfyArgs.join(" "),
        COMFYUI_DIR: undefined,
        COMFYUI_URL: undefined,
        COMFYUI_STAND_IN: undefined,
      },
      stateRoot: folder,
      role: "agent",
      logFile: this.logFile,
    });
    this.#child = child;
    void child.ended.then(() => {
      // What it had in hand and its stand-ins are of the past; the next one ends the stand-ins.
      this.#readLog();
      this.#inHand.clear();
      this.#comfyPids.clear();
      if (!this.#stopping && !this.#away) setTimeout(() => this.#stopping || this.#launch(), RESTART_PAUSE_MS);
    });
  }

  /** Jobs that it has begun and not ended, with a living ComfyUI. */
  jobsInHand(): JobInHand[] {
    this.#readLog();
    return [...this.#inHand.values()];
  }

  /** Kills the ComfyUI that runs the job. @returns false when it is gone already, or another program has its number */
  killComfy({ slot, comfyPid }: JobInHand): boolean {
    const identity = readIdentity(join(this.slotsFolder, String(slot), "comfyui.pid"));
    if (identity === null || identity.pid !== comfyPid || !isSameProcess(identity)) return false;
    process.kill(comfyPid, "SIGKILL");
    return true;
  }

  signal(name: NodeJS.Signals): boolean {
    const { pid } = this;
    if (pid === null) return false;
    process.kill(pid, name);
    return true;
  }

  /** The machine is gone at once, with all that ran on it, until it comes back. */
  async leave(): Promise<void> {
    this.#away = true;
    this.signal("SIGKILL");
    await this.#child?.ended;
    await killComfyUis(this.slotsFolder);
  }

  comeBack(): void {
    this.#away = false;
    this.#launch();
  }

  /** Ids of the ComfyUIs that live on this machine, as the system knows them. */
  livingComfys(): number[] {
    return Array.from({ length: SLOTS }, (_, slot) => join(this.slotsFolder, String(slot), "comfyui.pid"))
      .map(readIdentity)
      .flatMap((identity) => (identity !== null && isSameProcess(identity) ? [identity.pid] : []));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.signal("SIGCONT");
    await this.#child?.stop(5_000);
    await killLeftovers(this.#plan.folder, "agent");
    // An agent that was dead just now could not end its stand-ins.
    await killComfyUis(this.slotsFolder);
    await this.proxy.stop();
  }

  /** Reads what the log got since the last look. */
  #readLog(): void {
    let file: number;
    try {
      file = openSync(this.logFile, "r");
    } catch {
      return;
    }
    try {
      const { size } = fstatSync(file);
      const bytes = Buffer.alloc(Math.max(0, size - this.#readTo));
      this.#readTo += readSync(file, bytes, 0, bytes.length, this.#readTo);
      const lines = (this.#rest + bytes.toString("utf8")).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#hear(line);
    } finally {
      closeSync(file);
    }
  }

  #hear(line: string): void {
    let said: Record<string, unknown>;
    try {
      said = JSON.parse(line) as Record<string, unknown>;
    } catch {
      return;
    }
    const slot = Number(said.slot);
    const leaseId = String(said.leaseId);
    switch (said.event) {
      case "agent_started":
        this.#inHand.clear();
        this.#comfyPids.clear();
        return;
      case "comfy_ready":
        this.#comfyPids.set(slot, Number(said.pid));
        return;
      case "job_started":
        this.#inHand.set(leaseId, {
          jobId: String(said.jobId),
          leaseId,
          slot,
          comfyPid: this.#comfyPids.get(slot) ?? 0,
        });
        return;
      case "job_ended":
        this.#inHand.delete(leaseId);
        return;
    }
  }
}
