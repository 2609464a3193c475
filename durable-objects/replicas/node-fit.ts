/** Whether a pod takes a machine. Pure. */

export interface SeenCard {
  readonly name: string;
  /** null: the table does not know it. */
  readonly type: string | null;
}

/**
 * Every card has to be one of the pod's: a replica is promised one of them, and slots go round all cards.
 * @param types of card that the pod takes; empty: any, and machines without a card
 * @returns why the machine is refused, naming the card and what is taken; null when it fits
 */
export function gpuMismatch(types: readonly string[], cards: readonly SeenCard[]): string | null {
  if (types.length === 0) return null;
  const taken = `the pod takes ${types.join(", ")}`;
  if (cards.length === 0) return `The machine has no NVIDIA card; ${taken}.`;
  const wrong = cards.find(({ type }) => type === null || !types.includes(type));
  if (wrong === undefined) return null;
  const known = wrong.type === null ? "which the table of GPU types does not know" : `that is ${wrong.type}`;
  return `The machine has a card ${wrong.name}, ${known}; ${taken}. Show the agent only the fitting ones with CUDA_VISIBLE_DEVICES, or add the type to the pod.`;
}
