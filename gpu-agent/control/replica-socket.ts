/**
 * The socket of one replica (contract/agent-socket.ts): opened in the background, opened again when it closes. Nothing
 * depends on it: a call that it does not carry, or loses, goes over HTTP.
 */
import type * as z from "zod";
import {
  type CompleteLease,
  CompleteLeaseAnswer,
  type Lease,
  type ReplicaPoll,
  ReplicaPollAnswer,
} from "#contract/agent";
import {
  packOutput,
  SOCKET_CLOSE,
  SOCKET_OUTPUT_BYTES_MAX,
  SOCKET_PING,
  SOCKET_PING_MS,
  SOCKET_PONG,
  type SocketCall,
  type SocketOutput,
} from "#contract/agent-socket";
import { ProblemBody } from "#contract/problems";
import { type Log, messageOf } from "../log.ts";
import type { Timings } from "../settings.ts";
import { backoffMs, pause } from "./backoff.ts";
import { ControlError, problemError } from "./control-error.ts";

/** A server or a proxy that refuses sockets is asked again this often at least. */
const REOPEN_MS_MAX = 60_000;
/** Longer messages go over HTTP: servers bound what a socket carries, and what is small must not wait behind them. */
const MESSAGE_LENGTH_MAX = 256 * 1024;
/** With more than this still to go out, bytes, an output goes its own way, over HTTP. */
const UNSENT_BYTES_MAX = 2 * SOCKET_OUTPUT_BYTES_MAX;
/** Of the times a socket closes, the first is logged, and then each so many-th. */
const CLOSES_PER_LINE = 20;
/** The close code for a socket over which nothing came for too long. */
const SOCKET_SILENT = 4100;

/** A call without its number. */
export type SocketMessage = SocketCall extends infer Call ? (Call extends SocketCall ? Omit<Call, "n"> : never) : never;
type CompleteMessage = Extract<SocketMessage, { call: "complete" }>;

/** Nothing was sent: the socket is not open, or the message is too long for it. */
export class NotCarried extends Error {}

export interface ReplicaSocketOptions {
  /** Begins to open one, with the session of the moment. */
  readonly connect: () => WebSocket;
  readonly timings: Pick<Timings, "retryBaseMs" | "callMs" | "pollStallMs">;
  readonly log: Log;
  /** A lease has come that nobody will work on. */
  readonly onUnwanted: (lease: Lease) => void;
}

/** Whom a message with a number is for. */
interface Addressee {
  answered(answer: unknown): void;
  failed(error: Error): void;
}

/** A poll at the server: one that was sent, or what a complete went on as. */
interface OpenPoll {
  readonly id: string;
  readonly n: number;
  readonly timer: NodeJS.Timeout;
  /** Here, and not taken yet. */
  answer: ReplicaPollAnswer | null;
  taker: { resolve(answer: ReplicaPollAnswer): void; reject(error: unknown): void } | null;
  /** Nobody will take the answer. */
  isForgone: boolean;
}

interface CallLimits<Answer> {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Hears of the answer also when the signal has fired before it came. */
  readonly onAnswer?: (n: number, answer: Answer) => void;
}

export class ReplicaSocket {
  readonly #options: ReplicaSocketOptions;
  readonly #closing = new AbortController();
  readonly #addressees = new Map<number, Addressee>();
  readonly #polls = new Map<string, OpenPoll>();
  /** The one that is open. */
  #socket: WebSocket | null = null;
  /** Ends the socket that is open or opens, without waiting for the server. */
  #cut: () => void = () => undefined;
  #isKept = false;
  /** The server knows what a binary message is. */
  #takesOutputs = true;
  #lastNumber = 0;
  #opens = 0;
  #closes = 0;

  constructor(options: ReplicaSocketOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Bytes that were to be sent and are not yet. */
  get unsentBytes(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Whether an output of that size would be taken now. */
  takesOutput(size: number): boolean {
    return this.isOpen && this.#takesOutputs && size <= SOCKET_OUTPUT_BYTES_MAX && this.unsentBytes <= UNSENT_BYTES_MAX;
  }

  /** Sends an output ahead of its complete, which says whether it arrived. @throws NotCarried */
  output(output: SocketOutput, bytes: Uint8Array): void {
    if (this.#socket === null || !this.takesOutput(bytes.byteLength))
      throw new NotCarried("the socket takes no output");
    this.#socket.send(packOutput(output, bytes));
  }

  /** Opens it in the background, and keeps it open until `close`. */
  open(): void {
    if (this.#isKept || this.#closing.signal.aborted) return;
    this.#isKept = true;
    void this.#keepOpen();
  }

  /** What was not answered is lost. */
  close(): void {
    this.#closing.abort(new Error("the replica has ended"));
  }

  /**
   * Sends a call and waits for its answer.
   * @throws NotCarried; ControlError for a refusal, and a retryable one when the socket closes or the time is over; the
   *   signal's reason when it fires
   */
  call<Schema extends z.ZodType>(
    message: SocketMessage,
    schema: Schema,
    { timeoutMs, signal, onAnswer }: CallLimits<z.infer<Schema>>,
  ): Promise<z.infer<Schema>> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const n = this.#send(message);
      const settle = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#addressees.delete(n);
      };
      const failed = (error: Error) => {
        settle();
        reject(error);
      };
      const onAbort = () => {
        if (onAnswer === undefined) settle();
        reject(signal.reason);
      };
      const timer = setTimeout(() => failed(lost(`no answer in ${timeoutMs} ms`)), timeoutMs);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#addressees.set(n, {
        failed,
        answered: (value) => {
          const read = readAnswer(schema, value);
          if (read instanceof ControlError) return failed(read);
          settle();
          onAnswer?.(n, read.answer);
          resolve(read.answer);
        },
      });
    });
  }

  /**
   * Completes a job. Where its answer says that it waits, `poll` with its `next_poll_id` takes what comes of it.
   * @throws as call
   */
  complete(
    message: CompleteMessage,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<z.infer<typeof CompleteLeaseAnswer>> {
    const onAnswer = (n: number, answer: z.infer<typeof CompleteLeaseAnswer>) => {
      const { next_poll_id: pollId, next_wait_ms: waitMs }: CompleteLease = message.body;
      if (signal.aborted && answer.next !== null) this.#options.onUnwanted(answer.next);
      if (answer.waits !== true || pollId === undefined) return;
      this.#keepPoll(pollId, n, waitMs ?? 0).isForgone = signal.aborted;
    };
    return this.call(message, CompleteLeaseAnswer, { timeoutMs, signal, onAnswer });
  }

  /**
   * Takes the answer of the open poll of that id, or sends the poll. When the signal fires, the poll stays open.
   * @throws as call
   */
  poll(message: ReplicaPoll, signal: AbortSignal): Promise<ReplicaPollAnswer> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const open = this.#polls.get(message.poll_id) ?? this.#sendPoll(message);
      if (open.answer !== null) {
        this.#polls.delete(open.id);
        resolve(open.answer);
        return;
      }
      const onAbort = () => {
        open.taker = null;
        reject(signal.reason);
      };
      const settled = () => signal.removeEventListener("abort", onAbort);
      signal.addEventListener("abort", onAbort, { once: true });
      open.taker = {
        resolve: (answer) => {
          settled();
          resolve(answer);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      };
    });
  }

  /** No answer of a poll will be taken any more: leases that came, or still come, are not wanted. */
  forgoPolls(): void {
    for (const open of [...this.#polls.values()]) {
      open.isForgone = true;
      if (open.answer !== null) this.#pollAnswered(open, open.answer);
    }
  }

  /** Takes the open polls back. The server forgets a poll only with its connection, which is opened anew. */
  takeBackPolls(): void {
    const isWaiting = [...this.#polls.values()].some((open) => open.answer === null);
    this.forgoPolls();
    if (isWaiting) this.#cut();
  }

  #sendPoll(message: ReplicaPoll): OpenPoll {
    return this.#keepPoll(message.poll_id, this.#send({ call: "poll", body: message }), message.wait_ms);
  }

  #keepPoll(id: string, n: number, waitMs: number): OpenPoll {
    const { pollStallMs } = this.#options.timings;
    const failed = (error: Error) => {
      this.#forget(open);
      open.taker?.reject(error);
    };
    const timer = setTimeout(() => failed(lost("the poll has no answer")), waitMs + pollStallMs);
    const open: OpenPoll = { id, n, timer, answer: null, taker: null, isForgone: false };
    this.#polls.set(id, open);
    this.#addressees.set(n, {
      failed,
      answered: (value) => {
        const read = readAnswer(ReplicaPollAnswer, value);
        if (read instanceof ControlError) failed(read);
        else this.#pollAnswered(open, read.answer);
      },
    });
    return open;
  }

  #pollAnswered(open: OpenPoll, answer: ReplicaPollAnswer): void {
    this.#forget(open);
    if (open.isForgone) {
      if (answer.lease !== null) this.#options.onUnwanted(answer.lease);
    } else if (open.taker !== null) open.taker.resolve(answer);
    else {
      // Who asked for it comes for it soon.
      open.answer = answer;
      this.#polls.set(open.id, open);
    }
  }

  #forget(open: OpenPoll): void {
    clearTimeout(open.timer);
    this.#addressees.delete(open.n);
    if (this.#polls.get(open.id) === open) this.#polls.delete(open.id);
  }

  /** @returns the number under which the answer comes */
  #send(message: SocketMessage): number {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new NotCarried("the socket is not open");
    this.#lastNumber += 1;
    const text = JSON.stringify({ n: this.#lastNumber, ...message });
    if (text.length > MESSAGE_LENGTH_MAX) throw new NotCarried("the message is too long for the socket");
    this.#socket.send(text);
    return this.#lastNumber;
  }

  async #keepOpen(): Promise<void> {
    const { signal } = this.#closing;
    const bounds = { retryBaseMs: this.#options.timings.retryBaseMs, retryMaxMs: REOPEN_MS_MAX };
    for (let tries = 1; !signal.aborted; tries += 1) {
      const { code, wasUseful } = await this.#keepOne().catch(() => ({ code: 0, wasUseful: false }));
      if (signal.aborted) return;
      // A replaced one has a rival with the same session: they must not take the place from each other all the time.
      if (wasUseful && code !== SOCKET_CLOSE.replaced) tries = 1;
      // An older server takes an output for no call at all.
      if (code === SOCKET_CLOSE.malformed) this.#takesOutputs = false;
      this.#closes += 1;
      if (this.#closes % CLOSES_PER_LINE === 1) this.#options.log("socket_closed", { code, times: this.#closes });
      await pause(backoffMs(tries, Math.random(), bounds), signal).catch(() => undefined);
    }
  }

  /** One socket, from its opening to its end. @returns resolves at its end; it was useful if anything came over it */
  #keepOne(): Promise<{ code: number; wasUseful: boolean }> {
    const { connect, timings, log } = this.#options;
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const socket = connect();
      // Counted in beats, so that a process that was itself asleep does not take the server for silent.
      let quietBeats = 0;
      let wasUseful = false;
      const end = (code: number) => {
        clearInterval(beat);
        signal.removeEventListener("abort", cut);
        if (this.#socket === socket) this.#socket = null;
        if (this.#cut === cut) this.#loseAll(code);
        this.#cut = () => undefined;
        resolve({ code, wasUseful });
      };
      /** Counts as closed at once: a dead connection never confirms it. */
      const endBy = (code: number) => {
        socket.close(code);
        end(code);
      };
      const cut = () => endBy(1000);
      const beatMs = Math.min(SOCKET_PING_MS, timings.pollStallMs / 3);
      const beat = setInterval(() => {
        const isOpen = this.#socket === socket;
        quietBeats += 1;
        if (quietBeats * beatMs > (isOpen ? timings.pollStallMs : timings.callMs)) endBy(SOCKET_SILENT);
        else if (isOpen) socket.send(SOCKET_PING);
      }, beatMs);
      this.#cut = cut;
      signal.addEventListener("abort", cut, { once: true });
      socket.addEventListener("open", () => {
        if (this.#cut !== cut) return;
        quietBeats = 0;
        this.#socket = socket;
        this.#opens += 1;
        if (this.#opens === 1) log("socket_open");
      });
      socket.addEventListener("message", ({ data }) => {
        if (this.#socket !== socket) return;
        quietBeats = 0;
        wasUseful = true;
        if (data === SOCKET_PONG) return;
        try {
          this.#receive(data);
        } catch (error) {
          log("socket_message_malformed", { error: messageOf(error).slice(0, 200) });
          endBy(SOCKET_CLOSE.malformed);
        }
      });
      socket.addEventListener("close", ({ code }) => {
        if (this.#cut === cut) end(code);
      });
      // An error is always followed by a close.
      socket.addEventListener("error", () => undefined);
    });
  }

  /**
   * A message as `SocketAnswer` has it. Who waits for it reads what it says: a lease is checked once.
   * @throws when it is no message of the contract: nobody knows then which calls will be answered
   */
  #receive(data: unknown): void {
    const message: unknown = typeof data === "string" ? JSON.parse(data) : null;
    if (typeof message !== "object" || message === null || !("n" in message)) throw new Error("no answer has a number");
    // A number that nobody waits for belongs to a call that was given up.
    const addressee = typeof message.n === "number" ? this.#addressees.get(message.n) : undefined;
    const said = "answer" in message ? message.answer : "poll" in message ? message.poll : undefined;
    if ("problem" in message) {
      const problem = ProblemBody.parse(message.problem);
      addressee?.failed(problemError(problem));
    } else if (typeof said !== "object" || said === null) throw new Error("the message says nothing");
    else addressee?.answered(said);
  }

  #loseAll(code: number): void {
    for (const addressee of [...this.#addressees.values()]) addressee.failed(lost(`the socket closed (${code})`));
  }
}

function lost(message: string): ControlError {
  return new ControlError(message, { retryable: true });
}

function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): { answer: z.infer<Schema> } | ControlError {
  const result = schema.safeParse(value);
  if (result.success) return { answer: result.data };
  const issue = result.error.issues[0];
  return lost(`the answer does not fit at ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}
