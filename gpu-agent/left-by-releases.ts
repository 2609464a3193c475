/** What jobs of one release leave in a ComfyUI's folders goes before one of another release runs there. */
import type { ComfyFolders } from "./comfy/comfy-server.ts";
import type { ComfySession } from "./comfy/comfy-session.ts";
import { hasLeftovers, removeLeftovers } from "./comfy/leftovers.ts";
import { type Log, messageOf } from "./log.ts";
import type { RunningJob } from "./run-job.ts";

export class LeftByReleases {
  /** The jobs that a replica has leases for, as they are at the moment. */
  readonly #hand: readonly RunningJob[];
  readonly #log: Log;
  /** The release that ran last in the ComfyUI at hand; null: none has since its folders were emptied. */
  #ran: number | null = null;
  #emptied = 0;

  /** @param hand the replica's own list, which changes */
  constructor(hand: readonly RunningJob[], log: Log) {
    this.#hand = hand;
    this.#log = log;
  }

  /** How often the folders were emptied for another release. */
  get emptied(): number {
    return this.#emptied;
  }

  /** A ComfyUI with empty folders is started. @param release that it is made ready for; null: it is not known */
  began(release: number | null): void {
    this.#ran = release;
  }

  /**
   * A job of a release is next. Where another one ran before, what that left goes first.
   * @param cleaned what the jobs so far send and leave is gone by then
   * @returns resolves when it is gone, and never rejects; null: nothing is in the way
   */
  goFor(release: number, comfy: ComfySession, cleaned: Promise<void>): Promise<void> | null {
    const isOther = this.#ran !== null && this.#ran !== release;
    this.#ran = release;
    const { folders } = comfy.server;
    if (!isOther || folders === null) return null;
    this.#emptied += 1;
    return this.#empty(comfy, folders, [...this.#hand], cleaned);
  }

  /** @param before jobs in hand, of the other release */
  async #empty(
    comfy: ComfySession,
    folders: ComfyFolders,
    before: readonly RunningJob[],
    cleaned: Promise<void>,
  ): Promise<void> {
    const inHand = () => new Set<string>(this.#hand.map(({ lease }) => lease.job_id));
    try {
      // One that has to be restarted is never free: its end says so.
      await Promise.all(before.map(({ free, end }) => Promise.race([free, end])));
      if (!(await hasLeftovers(folders, inHand()))) return;
      await cleaned;
      await removeLeftovers(comfy, inHand());
      this.#log("folders_emptied");
    } catch (error) {
      this.#log("folders_not_emptied", { error: messageOf(error) });
    }
  }
}
