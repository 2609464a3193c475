import type * as z from "zod";
import { allPages } from "#client/paging";
import type { PageOf } from "#client/queues";
import type { AnswerOf, CallOptions, CreateOptions, Transport } from "#client/transport";
import {
  createJoinToken,
  createPod,
  deletePod,
  getPod,
  listJoinTokens,
  listPods,
  type NewJoinToken,
  type NewPod,
  type PodPatch,
  patchPod,
  revokeJoinToken,
} from "#contract/api/pods";
import type { JoinToken, Pod, PodDetail } from "#contract/replica";

export type JoinTokenPage = AnswerOf<typeof listJoinTokens>;

/** Pods: allotments of GPU capacity, and the tokens with which machines join them. */
export class Pods {
  readonly #transport: Transport;
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  create(pod: z.input<typeof NewPod>, options: CreateOptions = {}): Promise<Pod> {
    return this.#transport.call(createPod, { body: pod, ...options });
  }

  /** Oldest first: the first one is for endpoints that name none. */
  async list(options: CallOptions = {}): Promise<Pod[]> {
    return (await this.#transport.call(listPods, options)).data;
  }

  /** With how it stands now: nodes, slots, replicas, and who waits for a slot. */
  get(pod: string, options: CallOptions = {}): Promise<PodDetail> {
    return this.#transport.call(getPod, { params: { pod }, ...options });
  }

  /** What is left out stays; lists and prices are replaced as a whole. */
  patch(pod: string, patch: z.input<typeof PodPatch>, options: CallOptions = {}): Promise<Pod> {
    return this.#transport.call(patchPod, { params: { pod }, body: patch, repeatable: true, ...options });
  }

  /** Refused while an endpoint uses it or a node of it is online. */
  delete(pod: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(deletePod, { params: { pod }, ...options });
  }

  /**
   * Makes a token with which machines join the pod; its text is in this answer and in no later one.
   * @param token how long it lasts (a day) and how many machines may join with it (any number)
   */
  createJoinToken(
    pod: string,
    token: z.input<typeof NewJoinToken> = {},
    options: CreateOptions = {},
  ): Promise<JoinToken> {
    return this.#transport.call(createJoinToken, { params: { pod }, body: token, ...options });
  }

  /** One page, newest first. */
  joinTokenPage(pod: string, query: PageOf = {}, options: CallOptions = {}): Promise<JoinTokenPage> {
    return this.#transport.call(listJoinTokens, { params: { pod }, query, ...options });
  }

  /** All tokens of a pod, page by page; those that are over stay for 30 days. */
  joinTokens(pod: string, options: CallOptions = {}): AsyncGenerator<JoinToken, void, void> {
    return allPages((cursor) => this.joinTokenPage(pod, { cursor }, options));
  }

  /** From now on no machine joins with it; those that have joined stay. */
  revokeJoinToken(pod: string, token: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.call(revokeJoinToken, { params: { pod, token }, ...options });
  }
}
