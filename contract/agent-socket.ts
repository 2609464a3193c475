/**
 * The socket of a replica: `GET /agent/v1/replicas/{replica}/socket`, upgraded with the headers of every agent request. It
 * carries the calls that are made for each job, which are the same over HTTP, without a request for each: one JSON text
 * per message, and an output's bytes as a binary one. A socket may close at any moment; whatever was not answered is then said again, over a new one or HTTP.
 */
import * as z from "zod";
import {
  CompleteLease,
  FailLease,
  LeaseProgress,
  LeaseToken,
  ManifestEntry,
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

/** The most bytes of an output that goes over a socket: what else goes over it must not wait long behind it. */
export const SOCKET_OUTPUT_BYTES_MAX = 256 * 1024;

/**
 * An output that is sent ahead of the complete that names it: a binary message of this as JSON, a newline, and the bytes.
 * It has no answer. The complete waits (`outputs_wait_ms`) until what came before it is stored, and says what became of
 * it: `output_missing`, and the output is sent again over HTTP, where every trouble has a name.
 */
export const SocketOutput = z.strictObject({
  ...Proof,
  ...ManifestEntry.pick({ index: true, sha256: true, content_type: true }).shape,
});
export type SocketOutput = z.infer<typeof SocketOutput>;

/** As long as its JSON may be, bytes. */
const HEADER_BYTES_MAX = 4_096;
const NEWLINE = 0x0a;

export function packOutput(output: SocketOutput, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const header = new TextEncoder().encode(`${JSON.stringify(output)}\n`);
  const message = new Uint8Array(header.byteLength + bytes.byteLength);
  message.set(header);
  message.set(bytes, header.byteLength);
  return message;
}

/** @returns null for what is no output */
export function unpackOutput(message: Uint8Array): { output: SocketOutput; bytes: Uint8Array } | null {
  const end = message.subarray(0, HEADER_BYTES_MAX).indexOf(NEWLINE);
  if (end < 0 || message.byteLength - end - 1 > SOCKET_OUTPUT_BYTES_MAX) return null;
  try {
    const output = SocketOutput.safeParse(JSON.parse(new TextDecoder().decode(message.subarray(0, end)))).data;
    return output === undefined ? null : { output, bytes: message.subarray(end + 1) };
  } catch {
    return null;
  }
}

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
