/**
 * The socket of a replica: `GET /agent/v1/replicas/{replica}/socket`, upgraded with the headers of every agent request. It
 * carries the calls that are made for each job, which are the same over HTTP, without a request for each: one JSON text
 * per message. A socket may close at any moment; whatever was not answered is then said again, over a new one or HTTP.
 */
import * as z from "zod";
import {
  CompleteLease,
  FailLease,
  LeaseProgress,
  LeaseToken,
  ReleaseLease,
  ReplicaPoll,
  ReplicaPollAnswer,
} from "#contract/agent";
import { LeaseId } from "#contract/ids";
import { ProblemBody } from "#contract/problems";

/** The agent sends SOCKET_PING so often, ms; the answer is SOCKET_PONG, which wakes no object. */
export const SOCKET_PING_MS = 5_000;
export const SOCKET_PING = "ping";
export const SOCKET_PONG = "pong";

/** Why the server closes a socket, as a close code. */
export const SOCKET_CLOSE = {
  /** The replica has opened another one. */
  replaced: 4000,
  /** The node's session is over: open one with the new session. */
  sessionOver: 4001,
  /** What came is no call. */
  malformed: 4002,
} as const;

/** Chosen by the agent, not used again on this socket; the answer has the same. */
const CallNumber = z.int().nonnegative();
const Proof = { lease: LeaseId, token: LeaseToken };

/** One call: what the body of the HTTP request of that name is, with the lease and its token beside it. */
export const SocketCall = z.discriminatedUnion("call", [
  z.strictObject({ n: CallNumber, call: z.literal("poll"), body: ReplicaPoll }),
  z.strictObject({ n: CallNumber, call: z.literal("progress"), ...Proof, body: LeaseProgress }),
  z.strictObject({ n: CallNumber, call: z.literal("complete"), ...Proof, body: CompleteLease }),
  z.strictObject({ n: CallNumber, call: z.literal("fail"), ...Proof, body: FailLease }),
  z.strictObject({ n: CallNumber, call: z.literal("release"), ...Proof, body: ReleaseLease }),
]);
export type SocketCall = z.infer<typeof SocketCall>;

/**
 * What the server says to a call: `answer` is the body of the HTTP answer of that name (`fail` and `release`: an empty
 * object), `problem` a refusal. After a complete whose answer says `waits`, one more message with the same number has
 * `poll`, the answer of the poll that it became.
 */
export const SocketAnswer = z.union([
  z.object({ n: CallNumber, answer: z.record(z.string(), z.unknown()) }),
  z.object({ n: CallNumber, problem: ProblemBody }),
  z.object({ n: CallNumber, poll: ReplicaPollAnswer }),
]);
export type SocketAnswer = z.infer<typeof SocketAnswer>;
