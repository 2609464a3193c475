import type * as z from "zod";
import type { AnswerOf, CallOptions, Transport } from "#client/transport";
import {
  deleteGpuType,
  type GpuTypeChange,
  listGpuTypes,
  putGpuType,
  type WorkspaceGpuType,
} from "#contract/api/gpu-types";

/** Types of GPU with their memory, price, and what they suit. */
export class GpuTypes {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The shipped table with what the workspace has changed or added, and when its prices were read. */
  list(options: CallOptions = {}): Promise<AnswerOf<typeof listGpuTypes>> {
    return this.#transport.call(listGpuTypes, options);
  }

  /** Sets the price of a shipped type, or adds one; what is left out is as shipped. */
  set(name: string, change: z.input<typeof GpuTypeChange>, options: CallOptions = {}): Promise<WorkspaceGpuType> {
    return this.#transport.call(putGpuType, {
      params: { gpu_type: name },
      body: change,
      repeatable: true,
      ...options,
    });
  }

  /** A shipped type is as shipped again, an own one is gone. */
  reset(name: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(deleteGpuType, { params: { gpu_type: name }, ...options });
  }
}
