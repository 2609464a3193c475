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
