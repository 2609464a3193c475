/** Why a build cannot be had on this machine. The message is for the operator: it becomes the replica's error. */

export type BuildFault =
  /** The manifest asks for what this agent does not do, or says two different things. */
  | "manifest_refused"
  | "wrong_platform"
  | "commit_missing"
  | "fetch_failed"
  | "pack_missing"
  | "python_missing"
  | "install_failed"
  | "model_failed"
  | "disk_full"
  | "program_missing";

export type BuildStep = "comfyui" | "nodes" | "python" | "models";

export class BuildFailed extends Error {
  readonly fault: BuildFault;

  /**
   * @param reason one sentence; stands first, since lists show the first line alone
   * @param logTail the last lines of the step's log, redacted
   */
  constructor(fault: BuildFault, reason: string, logTail = "", cause?: unknown) {
    super(logTail === "" ? reason : `${reason}\n${logTail}`, { cause });
    this.name = "BuildFailed";
    this.fault = fault;
  }
}
