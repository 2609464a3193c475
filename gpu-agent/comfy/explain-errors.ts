/** ComfyUI's errors in the words of the contract: a code that decides about retries, a message for people. Pure. */
import { isJsonObject, type Json, type JsonObject, stringifyExactJson } from "#contract/exact-json";
import type { JobErrorCode } from "#contract/job";
import { JobFailure } from "./job-failure.ts";

const MESSAGE_LENGTH_MAX = 1_000;

/** Inputs of loaders that name a model file. */
const MODEL_INPUT =
  /^(ckpt|unet|vae|lora|clip|control_net|controlnet|clip_vision|style_model|gligen|hypernetwork|upscale_model|model|text_encoder|motion_model|ipadapter|embedding)(_?(name|file|path))?_?\d*$/;
const MODEL_FILE = /\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx)$/i;
const OUT_OF_MEMORY =
  /out of memory|OutOfMemoryError|not enough memory|can't allocate memory|cannot allocate memory|Allocation on device/i;
const DISK_FULL = /No space left on device|Errno 28|ENOSPC|Disk quota exceeded/i;
/** After one of these every later prompt of the process fails. */
const POISONED =
  /illegal memory access|unspecified launch failure|device-side assert|CUDA error: (?!out of memory)|cuDNN error: CUDNN_STATUS_EXECUTION_FAILED|uncorrectable ECC/i;

/** A graph that ComfyUI refused with 400, or partly refused with 200. */
export function explainRefusal(body: Json, redacted: (text: string) => string): JobFailure {
  const error = isJsonObject(body) && isJsonObject(body.error) ? body.error : {};
  const nodeErrors = isJsonObject(body) && isJsonObject(body.node_errors) ? body.node_errors : {};
  const message = text(error.message);
  const type = text(error.type);
  const extra = isJsonObject(error.extra_info) ? error.extra_info : {};
  if (type === "missing_node_type" || (type === "invalid_prompt" && /does not exist/.test(message))) {
    const classType = optional(extra.class_type) ?? /node (\S+) does not exist/.exec(message)?.[1];
    return new JobFailure("missing_node", `This machine's ComfyUI has no node class ${classType ?? "of that name"}.`, {
      nodeId: optional(extra.node_id),
      classType,
    });
  }
  const faults = listFaults(nodeErrors);
  const first = faults[0];
  if (first === undefined) {
    const details = text(error.details);
    const reason = [message, details].filter((part) => part !== "").join(" ") || "ComfyUI gave no reason";
    return new JobFailure("invalid_workflow", trim(redacted(`ComfyUI refused the workflow: ${reason}`)));
  }
  const missing = faults.find((fault) => fault.missingModel);
  const sentences = faults.slice(0, 5).map((fault) => fault.sentence);
  if (faults.length > 5) sentences.push(`And ${faults.length - 5} more.`);
  const shown = missing ?? first;
  return new JobFailure(
    missing === undefined ? "invalid_workflow" : "missing_model",
    trim(redacted(sentences.join(" "))),
    {
      nodeId: shown.nodeId,
      classType: shown.classType,
    },
  );
}

interface Fault {
  readonly nodeId: string;
  readonly classType: string | undefined;
  readonly missingModel: boolean;
  readonly sentence: string;
}

function listFaults(nodeErrors: JsonObject): Fault[] {
  const faults: Fault[] = [];
  for (const [nodeId, node] of Object.entries(nodeErrors)) {
    if (!isJsonObject(node)) continue;
    const classType = optional(node.class_type);
    for (const fault of Array.isArray(node.errors) ? node.errors : []) {
      if (!isJsonObject(fault)) continue;
      const extra = isJsonObject(fault.extra_info) ? fault.extra_info : {};
      const input = optional(extra.input_name);
      const received = extra.received_value;
      const missingModel =
        fault.type === "value_not_in_list" &&
        ((input !== undefined && MODEL_INPUT.test(input)) ||
          (typeof received === "string" && MODEL_FILE.test(received)));
      const where = `Node ${nodeId}${classType === undefined ? "" : ` (${classType})`}`;
      const value = received === undefined ? "" : ` ${stringifyExactJson(received).slice(0, 200)}`;
      faults.push({
        nodeId,
        classType,
        missingModel,
        sentence: missingModel
          ? `${where}: the model${value} for ${input ?? "an input"} is not on this machine.`
          : `${where}: ${[text(fault.message), text(fault.details)].filter((part) => part !== "").join(": ")}.`,
      });
    }
  }
  return faults;
}

/** A prompt that ended with `execution_error`. `data` is that event. */
export function explainExecutionError(data: JsonObject, redacted: (text: string) => string): JobFailure {
  const type = text(data.exception_type);
  const message = text(data.exception_message).trim();
  const whole = `${type} ${message}`;
  let code: JobErrorCode = "execution_error";
  let comfy: "healthy" | "restart" = "healthy";
  if (OUT_OF_MEMORY.test(whole)) code = "out_of_memory";
  else if (POISONED.test(whole)) {
    code = "replica_failed";
    comfy = "restart";
  } else if (DISK_FULL.test(whole)) code = "output_failed";
  const classType = optional(data.node_type);
  const nodeId = optional(data.node_id);
  const where = nodeId === undefined ? "" : `Node ${nodeId}${classType === undefined ? "" : ` (${classType})`}: `;
  const shownType = type.split(".").at(-1) ?? "";
  const shown = message === "" ? shownType || "the node failed without a message" : message;
  return new JobFailure(code, trim(redacted(`${where}${shown}`)), { nodeId, classType, comfy });
}

function trim(message: string): string {
  return message.length <= MESSAGE_LENGTH_MAX ? message : `${message.slice(0, MESSAGE_LENGTH_MAX - 1)}…`;
}

function text(value: Json | undefined): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : stringifyExactJson(value);
}

function optional(value: Json | undefined): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
