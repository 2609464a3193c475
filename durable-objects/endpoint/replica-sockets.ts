/** The object's end of the replicas' sockets (contract/agent-socket.ts): messages in, the object's own calls, answers out. */
import * as z from "zod";
import type { CompleteLease, Lease, ReplicaPollAnswer } from "#contract/agent";
import {
  SOCKET_CLOSE,
  SOCKET_PING,
  SOCKET_PONG,
  type SocketAnswer,
  SocketCall,
  type SocketOutput,
  unpackOutput,
} from "#contract/agent-socket";
import { type LeaseId, NodeId, PodId, ReplicaId, WorkspaceId } from "#contract/ids";
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { Problem, problemBody, type Refusal } from "#contract/problems";
import type { EndpointRpc, LeaseProof, NodeIdentity, Reply } from "#durable-objects/endpoint/rpc";

/** Header in which the Worker says whose socket it brings, as JSON. */
export const SOCKET_OWNER_HEADER = "pilotlight-socket-owner";

/** Kept with the socket, so that it outlives the object's memory. */
export const SocketOwner = z.object({
  workspaceId: WorkspaceId,
  podId: PodId,
  nodeId: NodeId,
  replicaId: ReplicaId,
  /** End of the node's session, Unix ms. */
  expiresAt: z.int(),
});
export type SocketOwner = z.infer<typeof SocketOwner>;

/** A complete that was not refused. */
export interface CompletedHere {
  readonly next: Lease | null;
  /** The poll that it goes on as; null: none. */
  readonly poll: {
    readonly replicaId: ReplicaId;
    readonly answer: Promise<{ readonly answer: ReplicaPollAnswer }>;
  } | null;
}

/** What the object does for a socket; its own calls for Workers, but for the complete. */
export interface SocketCalls
  extends Pick<EndpointRpc, "pollReplica" | "abandonPoll" | "progress" | "fail" | "release"> {
  /** Checks the outputs against R2 as the Worker does for others. @throws Problem when they are not there */
  completeHere(proof: LeaseProof, message: CompleteLease): Promise<Reply<CompletedHere>>;
  /** @throws when it is not stored: the lease is over, the bytes are others, R2 fails */
  storeHere(proof: LeaseProof, output: SocketOutput, bytes: Uint8Array): Promise<void>;
}

/** The protocol's code for a server that cannot do what it should. */
const NOT_ANSWERED = 1011;

/** A poll that waits for its answer. */
interface OpenPoll {
  readonly replicaId: ReplicaId;
  readonly pollId: string;
}

export class ReplicaSockets {
  readonly #ctx: DurableObjectState;
  readonly #calls: SocketCalls;
  /** What the sockets wait for. A poll keeps the object awake, so this is never lost while one is open. */
  readonly #open = new Map<WebSocket, Set<OpenPoll>>();
  /** Outputs on their way into R2, by lease. What is lost with the memory, the complete finds missing. */
  readonly #storing = new Map<LeaseId, Set<Promise<void>>>();

  constructor(ctx: DurableObjectState, calls: SocketCalls) {
    this.#ctx = ctx;
    this.#calls = calls;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(SOCKET_PING, SOCKET_PONG));
  }

  /** Answers the Worker's upgrade. The replica's earlier socket, if it has one, is closed. */
  open(request: Request): Response {
    const owner = SocketOwner.parse(JSON.parse(request.headers.get(SOCKET_OWNER_HEADER) ?? "null"));
    for (const other of this.#ctx.getWebSockets(owner.replicaId)) {
      // Who else says that he is this replica is refused at his first call, and has no say here.
      if (ownerOf(other).nodeId === owner.nodeId) other.close(SOCKET_CLOSE.replaced, "another socket took its place");
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.#ctx.acceptWebSocket(server, [owner.replicaId]);
    server.serializeAttachment(owner);
    return new Response(null, { status: 101, webSocket: client });
  }

  message(socket: WebSocket, message: string | ArrayBuffer): void {
    const owner = ownerOf(socket);
    if (owner.expiresAt <= Date.now()) {
      socket.close(SOCKET_CLOSE.sessionOver, "the session is over");
      return;
    }
    const sent = typeof message === "string" ? null : unpackOutput(new Uint8Array(message));
    if (sent !== null) {
      this.#store(owner, sent.output, sent.bytes);
      return;
    }
    const call = callOf(message);
    if (call === null) {
      socket.close(SOCKET_CLOSE.malformed, "not a call");
      return;
    }
    // Not awaited: a poll waits long, and other calls of the socket come meanwhile.
    void this.#answer(socket, owner, call);
  }

  #store(owner: SocketOwner, output: SocketOutput, bytes: Uint8Array): void {
    const { lease } = output;
    const storing = this.#storing.get(lease) ?? new Set();
    this.#storing.set(lease, storing);
    const stored = this.#calls
      .storeHere(proofOf(owner, output), output, bytes)
      .catch((error: unknown) => {
        // The agent hears of it from its complete.
        const reason = error instanceof Problem ? error.code : String(error);
        console.error(JSON.stringify({ event: "socket_output_not_stored", lease, index: output.index, reason }));
      })
      .finally(() => {
        storing.delete(stored);
        if (storing.size === 0) this.#storing.delete(lease);
      });
    storing.add(stored);
    this.#ctx.waitUntil(stored);
  }

  closed(socket: WebSocket): void {
    for (const { replicaId, pollId } of this.#open.get(socket) ?? []) {
      this.#ctx.waitUntil(this.#calls.abandonPoll(replicaId, pollId));
    }
    this.#open.delete(socket);
    // The other side waits for it before its own end is done.
    closeQuietly(socket, 1000, "closed");
  }

  /** Resolves when no output of the lease is on its way. @throws Problem output_pending after `waitMs` */
  async #stored(lease: LeaseId, waitMs: number): Promise<void> {
    const storing = this.#storing.get(lease);
    if (storing === undefined) return;
    let isStored = false;
    if (waitMs > 0) {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, waitMs);
      const all = Promise.all(storing).then(() => {
        isStored = true;
      });
      await Promise.race([all, late]);
      clearTimeout(timer);
    }
    if (!isStored) throw new Problem("output_pending", "An output is still being stored; complete again.");
  }

  async #answer(socket: WebSocket, owner: SocketOwner, call: SocketCall): Promise<void> {
    try {
      await this.#run(socket, owner, call);
    } catch (error) {
      if (error instanceof Problem) {
        const { code, message: detail, errors } = error;
        say(socket, { n: call.n, problem: problem({ ok: false, code, detail, ...(errors && { errors }) }) });
        return;
      }
      // What was not answered is asked again over HTTP, where the trouble has a name.
      console.error(JSON.stringify({ event: "socket_call_failed", call: call.call, error: String(error) }));
      closeQuietly(socket, NOT_ANSWERED, "not answered");
    }
  }

  async #run(socket: WebSocket, owner: SocketOwner, call: SocketCall): Promise<void> {
    const { n } = call;
    switch (call.call) {
      case "poll": {
        const { replicaId } = owner;
        const poll = this.#calls.pollReplica(identityOf(owner), replicaId, call.body);
        const reply = await this.#whileOpen(socket, { replicaId, pollId: call.body.poll_id }, poll);
        say(socket, reply.ok ? { n, answer: reply.answer } : { n, problem: problem(reply) });
        return;
      }
      case "complete": {
        await this.#stored(call.lease, call.body.outputs_wait_ms ?? 0);
        const reply = await this.#calls.completeHere(proofOf(owner, call), call.body);
        if (!reply.ok) {
          say(socket, { n, problem: problem(reply) });
          return;
        }
        const { next, poll } = reply;
        say(socket, { n, answer: poll === null ? { next } : { next, waits: true } });
        if (poll === null || call.body.next_poll_id === undefined) return;
        const open = { replicaId: poll.replicaId, pollId: call.body.next_poll_id };
        say(socket, { n, poll: (await this.#whileOpen(socket, open, poll.answer)).answer });
        return;
      }
      case "progress": {
        const reply = await this.#calls.progress(proofOf(owner, call), call.body);
        say(socket, reply.ok ? { n, answer: reply.answer } : { n, problem: problem(reply) });
        return;
      }
      case "fail":
      case "release": {
        const proof = proofOf(owner, call);
        const reply = await (call.call === "fail"
          ? this.#calls.fail(proof, call.body)
          : this.#calls.release(proof, call.body.reason));
        say(socket, reply.ok ? { n, answer: {} } : { n, problem: problem(reply) });
        return;
      }
      default:
        throw new Error(`unhandled: ${JSON.stringify(call satisfies never)}`);
    }
  }

  /** Notes the poll as one that must be forgotten should the socket close meanwhile. */
  async #whileOpen<T>(socket: WebSocket, poll: OpenPoll, answer: Promise<T>): Promise<T> {
    const polls = this.#open.get(socket) ?? new Set();
    this.#open.set(socket, polls.add(poll));
    try {
      return await answer;
    } finally {
      polls.delete(poll);
      if (polls.size === 0) this.#open.delete(socket);
    }
  }
}

function ownerOf(socket: WebSocket): SocketOwner {
  return socket.deserializeAttachment() as SocketOwner;
}

function identityOf({ workspaceId, podId, nodeId }: SocketOwner): NodeIdentity {
  return { workspaceId, podId, nodeId };
}

function proofOf(owner: SocketOwner, { lease, token }: { lease: LeaseId; token: string }): LeaseProof {
  return { ...identityOf(owner), leaseId: lease, token };
}

/** @returns null for what is no call */
function callOf(message: string | ArrayBuffer): SocketCall | null {
  if (typeof message !== "string" || message.length > WORKFLOW_BODY_BYTES_MAX) return null;
  try {
    return SocketCall.safeParse(JSON.parse(message)).data ?? null;
  } catch {
    return null;
  }
}

function problem({ code, detail, errors }: Refusal): SocketProblem {
  return problemBody(code, detail, `req_${crypto.randomUUID()}`, errors);
}

type SocketProblem = Extract<SocketAnswer, { problem: unknown }>["problem"];

/** A socket that has closed meanwhile is told nothing; what it was to hear is asked for again. */
function say(socket: WebSocket, answer: SocketAnswer): void {
  try {
    socket.send(JSON.stringify(answer));
  } catch {
    closeQuietly(socket, NOT_ANSWERED, "not answered");
  }
}

function closeQuietly(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // It is closed already.
  }
}
