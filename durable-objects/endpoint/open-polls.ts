/** Long polls that wait for their answer, at most one for each who polls. */
export class OpenPolls<Answer> {
  readonly #open = new Map<string, { readonly pollId: string; readonly resolve: (answer: Answer) => void }>();

  /**
   * Waits for `answer`.
   * @param who the poller; a newer poll of the same one does not end this one, `answer` does
   * @param ms the longest wait; then `late` gives the answer
   */
  wait(who: string, pollId: string, ms: number, late: () => Answer): Promise<Answer> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        if (this.#open.get(who) === poll) this.#open.delete(who);
        resolve(late());
      }, ms);
      const poll = {
        pollId,
        resolve: (answer: Answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
      };
      this.#open.set(who, poll);
    });
  }

  /** Answers the poll if it still waits. */
  answer(who: string, pollId: string, answer: Answer): void {
    const poll = this.#open.get(who);
    if (poll?.pollId !== pollId) return;
    this.#open.delete(who);
    poll.resolve(answer);
  }
}
