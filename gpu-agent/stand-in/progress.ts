/** How far each node of the running prompt is, sent whole with every change as `progress_state`. */
export interface ProgressFrame {
  readonly prompt_id: string;
  readonly nodes: Readonly<Record<string, object>>;
}

interface NodeProgress {
  value: number;
  max: number;
  state: "running" | "finished";
}

export class Progress {
  readonly #promptId: string;
  readonly #send: (frame: ProgressFrame) => void;
  readonly #nodes = new Map<string, NodeProgress>();

  constructor(promptId: string, send: (frame: ProgressFrame) => void) {
    this.#promptId = promptId;
    this.#send = send;
  }

  start(nodeId: string): void {
    this.#set(nodeId, { value: 0, max: 1, state: "running" });
  }

  update(nodeId: string, value: number, max: number): void {
    this.#set(nodeId, { value, max, state: "running" });
  }

  finish(nodeId: string): void {
    const max = this.#nodes.get(nodeId)?.max ?? 1;
    this.#set(nodeId, { value: max, max, state: "finished" });
  }

  #set(nodeId: string, progress: NodeProgress): void {
    this.#nodes.set(nodeId, progress);
    const nodes = [...this.#nodes].map(([id, { value, max, state }]) => [
      id,
      {
        value,
        max,
        state,
        node_id: id,
        prompt_id: this.#promptId,
        display_node_id: id,
        parent_node_id: null,
        real_node_id: id,
      },
    ]);
    this.#send({ prompt_id: this.#promptId, nodes: Object.fromEntries(nodes) });
  }
}
