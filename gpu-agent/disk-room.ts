/** Room on the disk that a replica writes to: it takes no job that could fill it. */
import type { ComfySession } from "./comfy/comfy-session.ts";
import { keepTempSmall, TEMP_BYTES_MAX } from "./comfy/temp-quota.ts";
import { type Log, messageOf } from "./log.ts";
import { freeBytes } from "./state-directory.ts";

export interface DiskRoomOptions {
  /** A folder on that disk. */
  readonly root: string;
  /** What a job may need. */
  readonly freeBytesMin: number;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** A preview may be among the files that are still being sent. */
  readonly isSending: () => boolean;
}

export class DiskRoom {
  readonly #options: DiskRoomOptions;

  constructor(options: DiskRoomOptions) {
    this.#options = options;
  }

  /** Empties ComfyUI's temp folder, if there is much in it and no job uses it. Never rejects. */
  async tidy(comfy: ComfySession, bytesMax: number = TEMP_BYTES_MAX): Promise<void> {
    const { log, signal, isSending } = this.#options;
    if (isSending()) return;
    try {
      if (await keepTempSmall(comfy, bytesMax, signal)) log("temp_emptied");
    } catch (error) {
      log("temp_not_emptied", { error: messageOf(error) });
    }
  }

  /**
   * Makes room where there is too little.
   * @param comfy whose temp folder may be emptied; null: there is none
   * @throws when a job could still fill the disk; the pod then knows why this machine takes none
   */
  async refuseFull(comfy: ComfySession | null): Promise<void> {
    const { root, freeBytesMin } = this.#options;
    if ((await freeBytes(root)) >= freeBytesMin) return;
    if (comfy !== null) await this.tidy(comfy, 0);
    const free = await freeBytes(root);
    if (free >= freeBytesMin) return;
    const [have, need] = [free, freeBytesMin].map((bytes) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`);
    throw new Error(`free disk space is ${have}, below the ${need} that a job may need`);
  }
}
