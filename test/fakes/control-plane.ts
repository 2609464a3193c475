/**
 * The server's agent API (/agent/v1) in this process, for tests of the agent: real HTTP, real sockets, real leases, and
 * trouble on demand. It keeps the rules of contract/agent.ts and refuses messages that do not fit its schemas.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import * as z from "zod";
import {
  AGENT_PROTOCOL,
  CompleteLease,
  CompleteMultipart,
  FailLease,
  JoinNode,
  LEASE_TOKEN_HEADER,
  LeaseProgress,
  NewMultipart,
  NodeMetricsReport,
  NodePoll,
  type NodePollAnswer,
  PROTOCOL_HEADER,
  ReleaseLease,
  ReplicaPoll,
  ReplicaReport,
  SHA256_HEADER,
  VerificationReport,
} from "#contract/agent";
import { SOCKET_CLOSE, SOCKET_PING, SOCKET_PONG, SocketCall, unpackOutput } from "#contract/agent-socket";
import type { ReplicaId } from "#contract/ids";
import { METRICS_WATCHED_MS, POLL_HEARTBEAT_MS } from "#contract/limits";
import { type ProblemCode, problems, type Refusal, refusal } from "#contract/problems";
import type { NodeMetrics } from "#contract/replica";
import { settlesWithin } from "#gpu-agent/control/backoff";
import { acceptKey, WebSocketConnection } from "#gpu-agent/stand-in/websocket";
import { type Call, FakeSocket, HttpCall, SocketCallReply } from "./control-plane-replies.ts";
import {
  ControlPlaneState,
  type FakeReplica,
  type FakeTimings,
  isRefusal,
  type LiveLease,
} from "./control-plane-state.ts";

export interface ControlPlaneOptions extends Partial<FakeTimings> {
  readonly heartbeatMs?: number;
  /** The least size of a part but the last; the real store's 5 MiB unless a test works with small ones. */
  readonly partBytesMin?: number;
  /** False: upgrades are refused, as by an older server or by a proxy that knows no WebSockets. */
  readonly sockets?: boolean;
  /** False: an output over a socket is no message, as to a server from before there were any. */
  readonly socketOutputs?: boolean;
}

/** What happens to a request, or to a call on a socket. */
type Trouble =
  /** It is carried out, and its answer never arrives: the connection ends instead. */
  | { readonly type: "lose_answer" }
  /** Nothing is carried out; the caller is told this. */
  | { readonly type: "refuse"; readonly code: ProblemCode; readonly retryAfterS?: number }
  /** A proxy in front of the server answers for it; a socket it ends. */
  | { readonly type: "proxy_error"; readonly status: number }
  /** It is carried out when this resolves. */
  | { readonly type: "hold"; readonly until: Promise<void> }
  /** A poll that is accepted and then silent: no heartbeat, no answer. On a socket: nor to anything else. */
  | { readonly type: "silence" }
  /** The connection ends before anything is carried out. */
  | { readonly type: "cut" };

interface PlannedTrouble {
  readonly path: RegExp;
  readonly trouble: Trouble;
  left: number;
}

export class ControlPlane {
  readonly joinToken = "plj_a-join-token-of-the-test-run";
  readonly state: ControlPlaneState;
  /** Every request, as "POST nodes/…/poll"; a call on a socket as the request that it stands for. */
  readonly requests: string[] = [];
  /** Those of them that came over a socket. */
  readonly socketCalls: string[] = [];
  /** The socket that each replica opened last, while it is open. */
  readonly sockets = new Map<ReplicaId, FakeSocket>();
  readonly polls: NodePoll[] = [];
  readonly joins: JoinNode[] = [];
  readonly metrics: NodeMetrics[] = [];
  /** How soon it wants the next figures, ms. */
  metricsEveryMs = METRICS_WATCHED_MS;
  /** Said with each answer to a node's poll, once somebody sets it. */
  pollExtras: Pick<NodePollAnswer, "send_inventory" | "metrics_every_ms"> = {};
  /** The id of each join that was carried out, in order. */
  readonly joinIds: string[] = [];
  /** Input files arrive with other bytes than promised. */
  alterInputs = false;
  readonly #options: ControlPlaneOptions;
  readonly #waiters = new Set<() => void>();
  readonly #troubles: PlannedTrouble[] = [];
  /** Each replica's latest poll: a newer one takes its place. */
  readonly #latestPolls = new Map<ReplicaId, object>();
  /** Outputs that came over a socket and are not stored yet, by lease. */
  readonly #storing = new Map<string, Promise<unknown>>();
  readonly #streams = new Set<Duplex>();
  #server: Server | null = null;
  #port = 0;

  static async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const plane = new ControlPlane(options);
    await plane.listen();
    return plane;
  }

  private constructor(options: ControlPlaneOptions) {
    this.#options = options;
    this.state = new ControlPlaneState(options, () => this.#changed());
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Also after `stop`: the same port, the same memory, as a server that was restarted. */
  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      void this.#serve(request, response).catch(() => response.destroy());
    });
    server.on("upgrade", (request, stream: Duplex, head) => this.#upgrade(request, stream, head));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    const address = server.address();
    if (typeof address === "object" && address !== null) this.#port = address.port;
  }

  /** Cuts every connection and refuses new ones. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    // Upgraded connections are not the server's any more.
    for (const stream of this.#streams) stream.destroy();
    await closed;
  }

  async close(): Promise<void> {
    this.state.clearTimers();
    await this.stop();
    this.#changed();
  }

  /** The next `times` requests whose "METHOD path" fits get into trouble. */
  plan(path: RegExp, trouble: Trouble, times = 1): void {
    this.#troubles.push({ path, trouble, left: times });
  }

  #changed(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const path = url.pathname.replace(/^\/agent\/v1\//, "");
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    this.requests.push(`${request.method ?? ""} ${path}`);
    const trouble = this.#takeTrouble(`${request.method ?? ""} ${path}`);
    const token = request.headers[LEASE_TOKEN_HEADER];
    const call = new HttpCall(request, response, {
      url,
      body,
      token: typeof token === "string" ? token : undefined,
      loseAnswer: trouble?.type === "lose_answer",
    });
    if (trouble?.type === "refuse") return call.refuse(planned(trouble));
    if (trouble?.type === "proxy_error") {
      response.writeHead(trouble.status, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
      return;
    }
    if (trouble?.type === "cut") {
      response.destroy();
      return;
    }
    if (trouble?.type === "hold") await trouble.until;
    if (trouble?.type === "silence") {
      response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
      return;
    }
    const bearer = bearerOf(request);
    const parts = path.split("/");
    if (path === "nodes") {
      const refused = this.#protocolRefusal(request);
      return refused === null ? this.#join(call, bearer) : call.refuse(refused);
    }
    const stranger = this.#protocolRefusal(request) ?? this.#sessionRefusal(bearer);
    if (stranger !== null) return call.refuse(stranger);
    const isNode = this.state.sessions.get(bearer) === parts[1];
    if (parts[0] === "nodes")
      return parts[2] === "metrics" ? this.#metrics(call, isNode) : this.#pollNode(call, isNode);
    if (parts[0] === "replicas") return this.#replica(call, parts[1] ?? "", parts[2] ?? "");
    if (parts[0] === "leases") return this.#lease(call, parts[1] ?? "", parts.slice(2));
    return call.refuse(refusal("not_found", path));
  }

  #protocolRefusal(request: IncomingMessage): Refusal | null {
    return request.headers[PROTOCOL_HEADER] === String(AGENT_PROTOCOL) ? null : refusal("upgrade_required", "");
  }

  #sessionRefusal(bearer: string): Refusal | null {
    return this.state.sessions.has(bearer) ? null : refusal("unauthenticated", "no such session");
  }

  #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    this.#streams.add(stream);
    stream.on("close", () => this.#streams.delete(stream));
    stream.on("error", () => stream.destroy());
    const path = (request.url ?? "/").replace(/^\/agent\/v1\//, "");
    this.requests.push(`GET ${path}`);
    const trouble = this.#takeTrouble(`GET ${path}`);
    if (trouble?.type === "silence") return;
    const [, id] = /^replicas\/([^/]+)\/socket$/.exec(path) ?? [];
    const replica = this.state.replicas.get(id as ReplicaId);
    const accept = acceptKey(request);
    const refused =
      this.#protocolRefusal(request) ??
      this.#sessionRefusal(bearerOf(request)) ??
      (trouble?.type === "refuse" ? planned(trouble) : null);
    const isTaken = this.#options.sockets !== false && trouble === null && refused === null;
    if (!isTaken || replica === undefined || accept === undefined) {
      const status = refused === null ? 404 : problems[refused.code].status;
      stream.end(`HTTP/1.1 ${status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    this.sockets.get(replica.id)?.close(SOCKET_CLOSE.replaced);
    const connection: WebSocketConnection = new WebSocketConnection(stream, accept, head, {
      text: (text) => void this.#socketText(socket, text).catch(() => socket.cut()),
      binary: (bytes) => this.#socketOutput(socket, bytes),
      closed: () => {
        socket.gone();
        if (this.sockets.get(replica.id) === socket) this.sockets.delete(replica.id);
      },
    });
    const socket = new FakeSocket(replica.id, connection);
    this.sockets.set(replica.id, socket);
    this.#changed();
  }

  /** Answered by the complete alone, which waits for it. */
  #socketOutput(socket: FakeSocket, message: Buffer): void {
    if (socket.isMute) return;
    const sent = this.#options.socketOutputs === false ? null : unpackOutput(message);
    if (sent === null) {
      socket.close(SOCKET_CLOSE.malformed);
      return;
    }
    const { lease, token, index, sha256, content_type: contentType } = sent.output;
    const request = `PUT leases/${lease}/outputs/${index}`;
    this.requests.push(request);
    this.socketCalls.push(request);
    const trouble = this.#takeTrouble(request);
    if (trouble?.type === "refuse") return;
    if (trouble?.type === "proxy_error" || trouble?.type === "cut") {
      socket.cut();
      return;
    }
    const store = () => {
      const live = this.state.prove(lease, token);
      if (isRefusal(live) || live.ended !== null) return;
      this.state.store(live, index, { bytes: Buffer.from(sent.bytes), sha256, contentType, parts: 1 });
    };
    if (trouble?.type !== "hold") {
      store();
      return;
    }
    const others = this.#storing.get(lease) ?? Promise.resolve();
    this.#storing.set(lease, Promise.all([others, trouble.until.then(store)]));
  }

  async #socketText(socket: FakeSocket, text: string): Promise<void> {
    if (socket.isMute) return;
    if (text === SOCKET_PING) return socket.sendText(SOCKET_PONG);
    const read = SocketCall.safeParse(JSON.parse(text));
    if (!read.success) return socket.close(SOCKET_CLOSE.malformed);
    const message = read.data;
    const path =
      message.call === "poll" ? `replicas/${socket.replicaId}/poll` : `leases/${message.lease}/${message.call}`;
    const request = `POST ${path}`;
    this.requests.push(request);
    this.socketCalls.push(request);
    const trouble = this.#takeTrouble(request);
    const call = new SocketCallReply(socket, {
      n: message.n,
      url: new URL(`/agent/v1/${path}`, this.url),
      token: message.call === "poll" ? undefined : message.token,
      body: message.body,
      loseAnswer: trouble?.type === "lose_answer",
      isPoll: message.call === "poll",
    });
    if (trouble?.type === "refuse") return call.refuse(planned(trouble));
    if (trouble?.type === "proxy_error" || trouble?.type === "cut") return socket.cut();
    if (trouble?.type === "hold") await trouble.until;
    if (trouble?.type === "silence") {
      socket.isMute = true;
      return;
    }
    if (message.call === "poll") return this.#replica(call, socket.replicaId, "poll");
    if (message.call === "complete") {
      const storing = this.#storing.get(message.lease) ?? Promise.resolve();
      const isStored = await settlesWithin(storing, message.body.outputs_wait_ms ?? 0);
      if (!isStored) return call.refuse(refusal("output_pending", "an output is still being stored"));
    }
    return this.#lease(call, message.lease, [message.call]);
  }

  #takeTrouble(request: string): Trouble | null {
    const planned = this.#troubles.find((each) => each.left > 0 && each.path.test(request));
    if (planned === undefined) return null;
    planned.left -= 1;
    return planned.trouble;
  }

  #join(call: Call, bearer: string): undefined {
    if (bearer !== this.joinToken) return call.refuse(refusal("unauthenticated", "no such join token"));
    const message = read(JoinNode, call);
    if (message === null) return;
    this.joins.push(message);
    this.joinIds.push(message.join_id ?? "");
    const { nodeId, session } = this.state.join(message.join_id);
    call.answer({ node_id: nodeId, pod_id: this.state.podId, session });
  }

  #metrics(call: Call, isNode: boolean): undefined {
    if (!isNode) return call.refuse(refusal("node_not_found", ""));
    const message = read(NodeMetricsReport, call);
    if (message === null) return;
    this.metrics.push(message.metrics);
    call.answer({ next_in_ms: this.metricsEveryMs });
  }

  async #pollNode(call: Call, isNode: boolean): Promise<void> {
    if (!isNode) return call.refuse(refusal("node_not_found", ""));
    const message = read(NodePoll, call);
    if (message === null) return;
    this.polls.push(message);
    for (const replica of this.state.replicas.values()) {
      replica.held = message.replicas.find((held) => held.replica_id === replica.id) ?? null;
    }
    this.#changed();
    await this.#long(call, message.wait_ms, (isLast) => {
      const wanted = [...this.state.replicas.values()].filter((replica) => replica.action !== "gone");
      const differs =
        wanted.some(
          (replica) => replica.held === null || (replica.action === "drain" && replica.held.state !== "draining"),
        ) || message.replicas.some((held) => !wanted.some((replica) => replica.id === held.replica_id));
      if (!differs && !isLast) return null;
      return {
        ...this.pollExtras,
        replicas: wanted.map(({ id, slot, endpointId, action }) => ({
          replica_id: id,
          slot,
          endpoint_id: endpointId,
          action,
        })),
      };
    });
  }

  async #replica(call: Call, id: string, action: string): Promise<void> {
    const replica = this.state.replicas.get(id as ReplicaId);
    if (replica === undefined) return call.refuse(refusal("replica_not_found", id));
    const releases = this.state.releases.get(replica.endpointId) ?? [];
    if (action === "release") {
      const number = Number(call.url.searchParams.get("release"));
      const release = releases[number - 1];
      return release === undefined
        ? call.refuse(refusal("release_not_found", ""))
        : call.answer({ ...release, release: number });
    }
    if (action === "state") {
      const report = read(ReplicaReport, call);
      if (report === null) return;
      replica.reports.push(report);
      this.#changed();
      const release = this.state.activeReleases.get(replica.endpointId) ?? releases.length;
      return call.answer({ release, stop: replica.action !== "run" });
    }
    if (action === "verifications") {
      const report = read(VerificationReport, call);
      if (report === null) return;
      replica.verifications.push(report);
      this.#changed();
      return call.answer({ stop: replica.stopErrands, log_next: (report.log_from ?? 0) + (report.log?.length ?? 0) });
    }
    const poll = read(ReplicaPoll, call);
    if (poll === null) return;
    this.state.keepOnly(
      replica.id,
      poll.leases.map((lease) => lease.lease_id),
      poll.poll_id,
    );
    await this.#pollReplica(call, replica, poll);
  }

  /** A poll of a replica, or what a complete goes on as. */
  async #pollReplica(call: Call, replica: FakeReplica, poll: ReplicaPoll): Promise<void> {
    this.#latestPolls.set(replica.id, poll);
    if (poll.preparing !== undefined) replica.preparing.add(poll.preparing);
    this.#changed();
    await this.#long(call, poll.wait_ms, (isLast) => {
      const isReplaced = this.#latestPolls.get(replica.id) !== poll;
      const lease = isReplaced ? null : this.state.grant(replica.id, poll.poll_id);
      const ended = poll.leases.map(({ lease_id }) => lease_id).filter((id) => this.state.isRevoked(id));
      const stop = replica.action === "gone" || replica.reports.at(-1)?.state === "draining";
      const isIdle = !isReplaced && lease === null && poll.leases.length === 0 && poll.verifies === true;
      const verify = isIdle && replica.errand !== null ? { release: replica.errand } : null;
      if (verify !== null) {
        replica.errand = null;
        replica.errandPoll = poll.poll_id;
      }
      const isAnswered = lease !== null || verify !== null || ended.length > 0 || stop || isReplaced || isLast;
      return isAnswered ? { lease, ended, stop, verify } : null;
    });
  }

  async #lease(call: Call, id: string, below: string[]): Promise<void> {
    const live = this.state.prove(id, call.token);
    if (isRefusal(live)) return call.refuse(live);
    switch (below[0]) {
      case "progress": {
        const message = read(LeaseProgress, call);
        if (message !== null) say(call, this.state.progress(live, message));
        break;
      }
      case "complete": {
        const message = read(CompleteLease, call);
        if (message !== null) await this.#complete(call, live, message);
        break;
      }
      case "fail": {
        const message = read(FailLease, call);
        if (message !== null) say(call, this.state.fail(live, message));
        break;
      }
      case "release": {
        const message = read(ReleaseLease, call);
        if (message !== null) say(call, this.state.release(live, message.reason));
        break;
      }
      default:
        return call instanceof HttpCall ? this.#files(call, live, below) : call.refuse(refusal("not_found", ""));
    }
    this.#changed();
  }

  async #complete(call: Call, live: LiveLease, message: CompleteLease): Promise<void> {
    const isFirst = live.ended === null;
    const completed = this.state.complete(live, message);
    if (isRefusal(completed)) return call.refuse(completed);
    const { next_poll_id: pollId, next_wait_ms: waitMs } = message;
    const replica = this.state.replicas.get(live.replicaId);
    const mayWait = isFirst && call.socket !== null && completed.next === null && !this.state.holds(live.replicaId);
    if (!mayWait || replica === undefined || pollId === undefined || waitMs === undefined)
      return call.answer(completed);
    call.answer({ ...completed, waits: true });
    await this.#pollReplica(call, replica, { poll_id: pollId, leases: [], wait_ms: waitMs });
  }

  /** What goes over HTTP alone. */
  #files(call: HttpCall, live: LiveLease, below: string[]): undefined {
    if (below[0] === "inputs") {
      const file = live.job.files[Number(below[1])];
      if (file === undefined) {
        call.refuse(refusal("file_not_found", ""));
        return;
      }
      const bytes = this.alterInputs ? Buffer.from(file.bytes).fill(0) : file.bytes;
      call.response.writeHead(200, { "content-length": bytes.byteLength }).end(bytes);
    } else if (below[0] !== "outputs") call.refuse(refusal("not_found", ""));
    else if (live.ended !== null) call.refuse(refusal("lease_lost", ""));
    else this.#output(call, live, Number(below[1]), below.slice(2));
  }

  #output(call: HttpCall, live: LiveLease, index: number, below: string[]): undefined {
    const { headers } = call.request;
    const hash = String(headers[SHA256_HEADER] ?? "");
    const [multipart, part] = below;
    if (multipart === undefined) {
      if (headers["content-length"] === undefined) return call.refuse(refusal("length_required", ""));
      const contentType = headers["content-type"] ?? "";
      const refused = this.state.store(live, index, { bytes: call.body, sha256: hash, contentType, parts: 1 });
      return refused === null ? call.answer({}) : call.refuse(refused);
    }
    if (part === undefined) {
      const message = read(NewMultipart, call);
      if (message === null) return;
      const uploadId = `upload/${live.uploads.size + 1}`;
      live.uploads.set(uploadId, {
        size: message.size,
        sha256: message.sha256,
        contentType: message.content_type,
        parts: new Map(),
      });
      return call.answer({ upload_id: uploadId });
    }
    if (part === "complete") {
      const message = read(CompleteMultipart, call);
      if (message === null) return;
      const upload = live.uploads.get(message.upload_id);
      if (upload === undefined) return call.refuse(refusal("not_found", "upload"));
      const parts = message.parts.map(({ part: number }) => upload.parts.get(number) ?? Buffer.alloc(0));
      const small = parts
        .slice(0, -1)
        .some((each) => each.byteLength < (this.#options.partBytesMin ?? 5 * 1024 * 1024));
      const bytes = Buffer.concat(parts);
      if (small || bytes.byteLength !== upload.size) return call.refuse(refusal("checksum_mismatch", "parts"));
      const { sha256, contentType } = upload;
      const refused = this.state.store(live, index, { bytes, sha256, contentType, parts: parts.length });
      return refused === null ? call.answer({}) : call.refuse(refused);
    }
    const upload = live.uploads.get(call.url.searchParams.get("upload_id") ?? "");
    if (upload === undefined) return call.refuse(refusal("not_found", "upload"));
    upload.parts.set(Number(part), call.body);
    call.answer({ part: Number(part), etag: `etag-${part}` });
  }

  /** Waits until there is something to say, or the time is over, or nobody listens any more. */
  async #long(call: Call, waitMs: number, decide: (isLast: boolean) => object | null): Promise<void> {
    const deadline = performance.now() + waitMs;
    const stopWaiting = call.wait(this.#options.heartbeatMs ?? POLL_HEARTBEAT_MS);
    try {
      for (;;) {
        if (call.isGone) return;
        const decided = decide(performance.now() >= deadline);
        if (decided !== null) return call.answerPoll(decided);
        await this.#next(deadline - performance.now(), call);
      }
    } finally {
      stopWaiting();
    }
  }

  /** Resolves at the next change, when the caller goes away, or after `ms`. */
  #next(ms: number, call: Call): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        call.offGone(done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, ms) + 1);
      this.#waiters.add(done);
      call.onceGone(done);
    });
  }

  /**
   * Resolves when something has come true. Looks after every change and every few milliseconds.
   * @throws after the deadline, with what was waited for
   */
  async until(what: string, isTrue: () => boolean, deadlineMs = 60_000): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    while (!isTrue()) {
      if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

function read<Schema extends z.ZodType>(schema: Schema, call: Call): z.infer<Schema> | null {
  const parsed = schema.safeParse(call.json());
  if (parsed.success) return parsed.data;
  call.refuse(refusal("invalid_body", z.prettifyError(parsed.error)));
  return null;
}

function say(call: Call, body: object): void {
  if (isRefusal(body)) call.refuse(body);
  else call.answer(body);
}

function bearerOf(request: IncomingMessage): string {
  return (request.headers.authorization ?? "").replace(/^Bearer /, "");
}

function planned({ code, retryAfterS }: Extract<Trouble, { type: "refuse" }>): Refusal {
  return refusal(code, "as planned", retryAfterS === undefined ? {} : { retryAfterS });
}
