/** Why a job failed, and whether ComfyUI can go on after it. */
import type { JobError, JobErrorCode } from "#contract/job";

export type ComfyHealth = "healthy" | "restart";

export class JobFailure extends Error {
  readonly jobError: JobError;
  readonly comfy: ComfyHealth;
  constructor(
    code: JobErrorCode,
    message: string,
    more: { nodeId?: string | undefined; classType?: string | undefined; comfy?: ComfyHealth; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.name = "JobFailure";
    this.comfy = more.comfy ?? "healthy";
    this.jobError = {
      code,
      message,
      ...(more.nodeId === undefined ? {} : { node_id: more.nodeId }),
      ...(more.classType === undefined ? {} : { class_type: more.classType }),
    };
  }
}

/** ComfyUI died before anything of the job's prompt can have reached it: the job is unharmed, and has not run. */
export class ComfyDiedFirst extends JobFailure {
  constructor(message: string) {
    super("replica_failed", message, { comfy: "restart" });
    this.name = "ComfyDiedFirst";
  }
}
