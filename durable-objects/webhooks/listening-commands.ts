import type { WebhookId } from "#contract/ids";

/** Listening commands whose calls wait for the next message of their webhook. */
export class ListeningCommands {
  readonly #waiting = new Map<WebhookId, Set<() => void>>();

  /** Resolves when there may be a message, or after so many ms. */
  wait(id: WebhookId, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, waiting);
      const done = () => {
        clearTimeout(timer);
        waiting.delete(done);
        if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
        resolve();
      };
      const timer = setTimeout(done, ms);
      waiting.add(done);
    });
  }

  wake(id: WebhookId): void {
    for (const done of [...(this.#waiting.get(id) ?? [])]) done();
  }
}
