import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { type Lease, type ManifestEntry, ReplicaPollAnswer } from "#contract/agent";
import { packOutput, SOCKET_CLOSE, SOCKET_PING, SOCKET_PONG, SocketAnswer } from "#contract/agent-socket";
import {
  agentHeaders,
  entryOf,
  freshPollId,
  joinNode,
  putOutput,
  readyReplica,
  sendLease,
  type TestReplica,
  takeLease,
} from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";

const WAIT_MS = 20_000;

/** A replica's socket as its agent has it: what came is kept in order. */
class Line {
  readonly #socket: WebSocket;
  readonly #heard: string[] = [];
  #wake: () => void = () => undefined;
  closedWith: number | null = null;
  #last = 0;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", (event) => {
      this.#heard.push(String(event.data));
      this.#wake();
    });
    socket.addEventListener("close", (event) => {
      this.closedWith = event.code;
      this.#wake();
    });
    socket.accept();
  }

  say(text: string | ArrayBuffer): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#socket.close(1000, "the agent goes");
  }

  /** Sends a call and leaves. @returns its number */
  call(call: string, body: object, lease?: Lease): number {
    this.#last += 1;
    const proof = lease === undefined ? {} : { lease: lease.lease_id, token: lease.token };
    this.say(JSON.stringify({ n: this.#last, call, ...proof, body }));
    return this.#last;
  }

  poll(waitMs: number, more: object = {}): number {
    return this.call("poll", { poll_id: freshPollId(), leases: [], wait_ms: waitMs, ...more });
  }

  output(lease: Lease, entry: Pick<ManifestEntry, "index" | "sha256" | "content_type">, bytes: Uint8Array): void {
    const { index, sha256, content_type } = entry;
    const output = { lease: lease.lease_id, token: lease.token, index, sha256, content_type };
    this.say(packOutput(output, bytes).buffer);
  }

  /** The next message, of any kind. */
  async next(): Promise<string> {
    const deadline = Date.now() + WAIT_MS;
    for (;;) {
      const message = this.#heard.shift();
      if (message !== undefined) return message;
      if (this.closedWith !== null) throw new Error(`the socket was closed with ${this.closedWith}`);
      await this.#news(deadline);
    }
  }

  async answer(): Promise<SocketAnswer> {
    return SocketAnswer.parse(JSON.parse(await this.next()));
  }

  /** The answer to the call of that number, which must be the next message. */
  async answerTo(n: number): Promise<Record<string, unknown>> {
    const answer = await this.answer();
    if (answer.n !== n || !("answer" in answer)) throw new Error(JSON.stringify(answer));
    return answer.answer;
  }

  async end(): Promise<number> {
    const deadline = Date.now() + WAIT_MS;
    while (this.closedWith === null) await this.#news(deadline);
    return this.closedWith;
  }

  async #news(deadline: number): Promise<void> {
    if (Date.now() > deadline) throw new Error("nothing came");
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 100);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function upgrade(session: string, replicaId: string, headers = agentHeaders()): Promise<Response> {
  return send("GET", `/agent/v1/replicas/${replicaId}/socket`, {
    key: session,
    headers: { ...headers, upgrade: "websocket" },
  });
}

async function lineOf(replica: TestReplica): Promise<Line> {
  const answer = await upgrade(replica.node.session, replica.replicaId);
  if (answer.webSocket === null) throw new Error(`no socket: ${answer.status} ${await answer.text()}`);
  return new Line(answer.webSocket);
}

async function atWork(): Promise<{ workspace: TestWorkspace; replica: TestReplica; line: Line }> {
  const workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox", { workflow: textGraph(18446744073709551615n) });
  // The first job brings the replica.
  await submit(workspace);
  const replica = await readyReplica(await joinNode(workspace));
  return { workspace, replica, line: await lineOf(replica) };
}

async function submit(workspace: TestWorkspace): Promise<string> {
  return String((await submitJob(workspace.key, "fox", { seed: 18446744073709551615n })).id);
}

async function stateOf({ key }: TestWorkspace, jobId: unknown): Promise<unknown> {
  return (await jsonOf(await send("GET", `/v1/jobs/${String(jobId)}`, { key }))).state;
}

/** A complete that waits until the output has arrived. */
function patient(entry: object) {
  return { outputs: [entry], phases: [], outputs_wait_ms: 10_000 };
}

async function leaseOf(line: Line): Promise<Lease> {
  const { lease } = ReplicaPollAnswer.parse(await line.answerTo(line.poll(10_000)));
  if (lease === null) throw new Error("no lease");
  return lease;
}

describe("opening", () => {
  it("needs a session, the protocol, an upgrade and a replica of the node's workspace", async () => {
    const { replica } = await atWork();
    const path = `/agent/v1/replicas/${replica.replicaId}/socket`;
    const { session } = replica.node;
    expect(await refusalOf(await upgrade("nonsense", replica.replicaId))).toMatchObject({ code: "unauthenticated" });
    expect(await refusalOf(await upgrade(session, replica.replicaId, {}))).toMatchObject({ code: "upgrade_required" });
    expect(await refusalOf(await send("GET", path, { key: session, headers: agentHeaders() }))).toMatchObject({
      code: "malformed_request",
    });
    const stranger = await joinNode(await makeWorkspace());
    expect(await refusalOf(await upgrade(stranger.session, replica.replicaId))).toMatchObject({
      code: "replica_not_found",
    });
  });

  it("answers pings, and closes the replica's earlier socket", async () => {
    const { replica, line } = await atWork();
    line.say(SOCKET_PING);
    expect(await line.next()).toBe(SOCKET_PONG);
    const second = await lineOf(replica);
    expect(await line.end()).toBe(SOCKET_CLOSE.replaced);
    expect((await leaseOf(second)).attempt).toBe(1);
  });

  it("leaves a socket alone when another node of the workspace calls itself by that name", async () => {
    const { workspace, replica, line } = await atWork();
    const other = await joinNode(workspace);
    const thief = await lineOf({ ...replica, node: other });
    const n = thief.poll(0);
    expect(await thief.answer()).toMatchObject({ n, problem: { code: "replica_not_found", status: 404 } });
    expect((await leaseOf(line)).attempt).toBe(1);
  });
});

describe("a job over the socket", () => {
  it("goes from its lease to its end, each answer under its call's number", async () => {
    const { workspace, replica, line } = await atWork();
    const lease = await leaseOf(line);
    expect(await line.answerTo(line.call("progress", { phase: "executing" }, lease))).toMatchObject({ cancel: false });
    const { answer, entry } = await putOutput(replica, lease, 0, png(8, 8));
    expect(answer.status).toBe(204);
    const complete = { outputs: [entry], phases: [{ phase: "executing", ms: 5 }] };
    expect(await line.answerTo(line.call("complete", complete, lease))).toEqual({ next: null });
    // Again, as after an answer that was lost.
    expect(await line.answerTo(line.call("complete", complete, lease))).toEqual({ next: null });
    expect(await stateOf(workspace, lease.job_id)).toBe("succeeded");
  });

  it("refuses a complete whose output is not stored, and a lease that is over", async () => {
    const { workspace, replica, line } = await atWork();
    const lease = await leaseOf(line);
    const { entry } = await putOutput(replica, lease, 0, png(8, 8));
    const wrong = { outputs: [{ ...entry, index: 1 }], phases: [] };
    const n = line.call("complete", wrong, lease);
    expect(await line.answer()).toMatchObject({ n, problem: { code: "output_missing" } });
    expect(await stateOf(workspace, lease.job_id)).toBe("running");
    const twice = line.call("complete", { outputs: [entry, entry], phases: [] }, lease);
    expect(await line.answer()).toMatchObject({ n: twice, problem: { code: "invalid_body" } });
    expect(await line.answerTo(line.call("release", { reason: "the agent goes" }, lease))).toEqual({});
    const late = line.call("complete", { outputs: [entry], phases: [] }, lease);
    expect(await line.answer()).toMatchObject({ n: late, problem: { code: "lease_lost" } });
  });

  it("takes an output ahead of the complete that names it", async () => {
    const { workspace, line } = await atWork();
    const lease = await leaseOf(line);
    const bytes = png(8, 8);
    const entry = await entryOf(0, bytes);
    line.output(lease, entry, bytes);
    expect(await line.answerTo(line.call("complete", patient(entry), lease))).toEqual({ next: null });
    const { outputs } = await jsonOf(await send("GET", `/v1/jobs/${lease.job_id}`, { key: workspace.key }));
    expect(outputs).toMatchObject([{ name: "image-0.png", size: bytes.byteLength, sha256: entry.sha256 }]);
    const [output] = outputs as { url: string }[];
    const answer = await send("GET", output?.url ?? "");
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(new Uint8Array(bytes));
  });

  it("finds an output missing whose bytes came altered, and takes the right ones again", async () => {
    const { workspace, replica, line } = await atWork();
    const lease = await leaseOf(line);
    const entry = await entryOf(0, png(8, 8));
    line.output(lease, entry, png(9, 9));
    const n = line.call("complete", patient(entry), lease);
    expect(await line.answer()).toMatchObject({ n, problem: { code: "output_missing" } });
    const { answer } = await putOutput(replica, lease, 0, png(8, 8));
    expect(answer.status).toBe(204);
    await line.answerTo(line.call("complete", { outputs: [entry], phases: [] }, lease));
    expect(await stateOf(workspace, lease.job_id)).toBe("succeeded");
  });

  it("says when it was asked not to wait for an output that is on its way", async () => {
    const { workspace, line } = await atWork();
    const lease = await leaseOf(line);
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const entry = await entryOf(0, bytes);
    line.output(lease, entry, bytes);
    const n = line.call("complete", { ...patient(entry), outputs_wait_ms: 0 }, lease);
    expect(await line.answer()).toMatchObject({ n, problem: { code: "output_pending" } });
    expect(await line.answerTo(line.call("complete", patient(entry), lease))).toEqual({ next: null });
    expect(await stateOf(workspace, lease.job_id)).toBe("succeeded");
  });

  it("keeps no output of a lease that is over", async () => {
    const { line } = await atWork();
    const lease = await leaseOf(line);
    await line.answerTo(line.call("release", { reason: "the agent goes" }, lease));
    const bytes = png(8, 8);
    const entry = await entryOf(0, bytes);
    line.output(lease, entry, bytes);
    const n = line.call("complete", patient(entry), lease);
    expect(await line.answer()).toMatchObject({ n, problem: { code: "lease_lost" } });
    const { objects } = await env.STORE.list({ prefix: "out/" });
    expect(objects.filter(({ key }) => key.includes(lease.token))).toEqual([]);
  });

  it("fails a job", async () => {
    const { workspace, line } = await atWork();
    const lease = await leaseOf(line);
    const error = { code: "execution_error", message: "node 3 broke" };
    expect(await line.answerTo(line.call("fail", { error, phases: [] }, lease))).toEqual({});
    expect(await stateOf(workspace, lease.job_id)).toBe("failed");
  });

  it("brings the next lease with a complete, and otherwise as soon as there is one", async () => {
    const { workspace, line } = await atWork();
    const first = await leaseOf(line);
    await submit(workspace);
    const body = () => ({ outputs: [], phases: [], next_poll_id: freshPollId(), next_wait_ms: 10_000 });
    const { next } = (await line.answerTo(line.call("complete", body(), first))) as { next: Lease | null };
    if (next === null) throw new Error("no next lease");
    const n = line.call("complete", body(), next);
    expect(await line.answerTo(n)).toEqual({ next: null, waits: true });
    const id = await submit(workspace);
    expect(await line.answer()).toMatchObject({ n, poll: { lease: { job_id: id }, stop: false } });
  });

  it("never leaves a complete over HTTP waiting", async () => {
    const { workspace, replica, line } = await atWork();
    const lease = await leaseOf(line);
    const json = { outputs: [], phases: [], next_poll_id: freshPollId(), next_wait_ms: 10_000 };
    const answer = await sendLease(replica, lease, "POST", "complete", { json });
    expect(await jsonOf(answer)).toEqual({ next: null });
    const id = await submit(workspace);
    expect((await takeLease(replica)).job_id).toBe(id);
  });
});

describe("a socket that closes", () => {
  it.each([
    ["a poll", (line: Line) => line.poll(25_000)],
    ["a complete that waits", null],
  ] as const)("takes %s with it: the job goes to who is there", async (_, open) => {
    const { workspace, replica, line } = await atWork();
    const lease = await leaseOf(line);
    const wait = { next_poll_id: freshPollId(), next_wait_ms: 25_000 };
    const n = line.call("complete", { outputs: [], phases: [], ...(open === null ? wait : {}) }, lease);
    await line.answerTo(n);
    open?.(line);
    line.close();
    await line.end();
    const id = await submit(workspace);
    const second = await lineOf(replica);
    expect((await leaseOf(second)).job_id).toBe(id);
  });

  it("finds the lease of an unheard answer again under the same poll id", async () => {
    const { replica, line } = await atWork();
    const pollId = freshPollId();
    line.poll(10_000, { poll_id: pollId });
    const heard = ReplicaPollAnswer.parse(((await line.answer()) as { answer: unknown }).answer);
    line.close();
    const second = await lineOf(replica);
    const again = ReplicaPollAnswer.parse(await second.answerTo(second.poll(0, { poll_id: pollId })));
    expect(again.lease?.lease_id).toBe(heard.lease?.lease_id);
  });

  it.each([
    ["no JSON", "poll"],
    ["another call", JSON.stringify({ n: 1, call: "steal", body: {} })],
    ["a call without its lease", JSON.stringify({ n: 1, call: "progress", body: { phase: "executing" } })],
    [
      "an unknown field",
      JSON.stringify({ n: 1, call: "poll", body: { poll_id: "poll-1234", leases: [], wait_ms: 0, x: 1 } }),
    ],
    ["bytes", new Uint8Array([123, 125]).buffer],
    ["bytes after what is no output", new Uint8Array(new TextEncoder().encode('{"index":0}\nbytes')).buffer],
  ])("is closed for %s", async (_, message) => {
    const { line } = await atWork();
    line.say(message);
    expect(await line.end()).toBe(SOCKET_CLOSE.malformed);
  });
});
