/** A broken promise; `invariant` is its number in the design (I1–I20, L1–L6). */
export class Violation extends Error {
  readonly invariant: string;

  constructor(invariant: string, what: string) {
    super(`${invariant}: ${what}`);
    this.invariant = invariant;
  }
}

/** @throws Violation when the promise is broken; `what` says how and is only asked then */
export function promise(invariant: string, holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Violation(invariant, what());
}
