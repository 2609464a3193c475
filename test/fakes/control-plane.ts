/**
 * The server's agent API (/agent/v1) in this process, for tests of the agent: real HTTP, real leases, and trouble on
 * demand. It keeps the rules of contract/agent.ts and refuses messages that do not fit its schemas.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
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
  NodePoll,
  PROTOCOL_HEADER,
  ReleaseLease,
  ReplicaPoll,
  ReplicaReport,
  SHA256_HEADER,
} from "#contract/agent";
import type { ReplicaId } from "#contract/ids";
import { POLL_HEARTBEAT_MS } from "#contract/limits";
import { type ProblemCode, problemBody, problems, type Refusal, refusal } from "#contract/problems";
import { ControlPlaneState, type FakeTimings, isRefusal, type LiveLease } from "./control-plane-state.ts";

export interface ControlPlaneOptions extends Partial<FakeTimings> {
  readonly heartbeatMs?: number;
  /** The least size of a part but the last; the real store's 5 MiB unless a test works with small ones. */
  readonly partBytesMin?: number;
}

type Trouble =
  /** The request is carried out, and its answer never arrives. */
  | { readonly type: "lose_answer" }
  /** Nothing is carried out; the caller is told this. */
  | { readonly type: "refuse"; readonly code: ProblemCode; readonly retryAfterS?: number }
  /** A proxy in front of the server answers for it. */
  | { readonly type: "proxy_error"; readonly status: number }
  /** The request is carried out when this resolves. */
  | { readonly type: "hold"; readonly until: Promise<void> }
  /** A poll that is accepted and then silent: no heartbeat, no answer. */
  | { readonly type: "silence" };

interface PlannedTrouble {
  readonly path: RegExp;
  readonly trouble: Trouble;
  left: number;
}

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly body: Buffer;
  readonly loseAnswer: boolean;
}

export class ControlPlane {
  readonly joinToken = "plj_a-join-token-of-the-test-run";
  readonly state: ControlPlaneState;
  /** Every request, as "POST nodes/…/poll". */
  readonly requests: string[] = [];
  readonly polls: NodePoll[] = [];
  /** Input files arrive with other bytes than promised. */
  alterInputs = false;
  readonly #options: ControlPlaneOptions;
  readonly #waiters = new Set<() => void>();
  readonly #troubles: PlannedTrouble[] = [];
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
    const call: Call = { request, response, url, body, loseAnswer: trouble?.type === "lose_answer" };
    if (trouble?.type === "refuse")
      return refuse(call, {
        ...refusal(trouble.code, "as planned"),
        ...(trouble.retryAfterS === undefined ? {} : { retryAfterS: trouble.retryAfterS }),
      });
    if (trouble?.type === "proxy_error") {
      response.writeHead(trouble.status, { "content-type": "text/html" }).end("<h1>Bad gateway</h1>");
      return;
    }
    if (trouble?.type === "hold") await trouble.until;
    if (trouble?.type === "silence") {
      response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
      return;
    }
    if (request.headers[PROTOCOL_HEADER] !== String(AGENT_PROTOCOL))
      return refuse(call, refusal("upgrade_required", ""));
    const bearer = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    const parts = path.split("/");
    if (path === "nodes") return this.#join(call, bearer);
    if (!this.state.sessions.has(bearer)) return refuse(call, refusal("unauthenticated", "no such session"));
    if (parts[0] === "nodes") return this.#pollNode(call, this.state.sessions.get(bearer) === parts[1]);
    if (parts[0] === "replicas") return this.#replica(call, parts[1] ?? "", parts[2] ?? "");
    if (parts[0] === "leases") return this.#lease(call, parts[1] ?? "", parts.slice(2));
    return refuse(call, refusal("not_found", path));
  }

  #takeTrouble(request: string): Trouble | null {
    const planned = this.#troubles.find((each) => each.left > 0 && each.path.test(request));
    if (planned === undefined) return null;
    planned.left -= 1;
    return planned.trouble;
  }

  #join(call: Call, bearer: string): undefined {
    if (bearer !== this.joinToken) return refuse(call, refusal("unauthenticated", "no such join token"));
    const message = read(JoinNode, call);
    if (message === null) return;
    const { nodeId, session } = this.state.join();
    answer(call, { node_id: nodeId, pod_id: this.state.podId, session });
  }

  async #pollNode(call: Call, isNode: boolean): Promise<void> {
    if (!isNode) return refuse(call, refusal("node_not_found", ""));
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
    if (replica === undefined) return refuse(call, refusal("replica_not_found", id));
    const releases = this.state.releases.get(replica.endpointId) ?? [];
    if (action === "release") {
      const number = Number(call.url.searchParams.get("release"));
      const release = releases[number - 1];
      return release === undefined
        ? refuse(call, refusal("release_not_found", ""))
        : answer(call, { ...release, release: number });
    }
    if (action === "state") {
      const report = read(ReplicaReport, call);
      if (report === null) return;
      replica.reports.push(report);
      this.#changed();
      return answer(call, { release: releases.length, stop: replica.action !== "run" });
    }
    const poll = read(ReplicaPoll, call);
    if (poll === null) return;
    this.state.keepOnly(
      replica.id,
      poll.leases.map((lease) => lease.lease_id),
      poll.poll_id,
    );
    await this.#long(call, poll.wait_ms, (isLast) => {
      const lease = this.state.grant(replica.id, poll.poll_id);
      const stop = replica.action === "gone";
      return lease !== null || stop || isLast ? { lease, ended: [], stop } : null;
    });
  }

  async #lease(call: Call, id: string, below: string[]): Promise<void> {
    const token = call.request.headers[LEASE_TOKEN_HEADER];
    const live = this.state.prove(id, typeof token === "string" ? token : undefined);
    if (isRefusal(live)) return refuse(call, live);
    switch (below[0]) {
      case "progress": {
        const message = read(LeaseProgress, call);
        if (message !== null) answer(call, this.state.progress(live, message));
        break;
      }
      case "complete": {
        const message = read(CompleteLease, call);
        if (message !== null) answer(call, this.state.complete(live, message));
        break;
      }
      case "fail": {
        const message = read(FailLease, call);
        if (message !== null) answer(call, this.state.fail(live, message));
        break;
      }
      case "release": {
        const message = read(ReleaseLease, call);
        if (message !== null) answer(call, this.state.release(live, message.reason));
        break;
      }
      case "inputs": {
        const file = live.job.files[Number(below[1])];
        if (file === undefined) return refuse(call, refusal("file_not_found", ""));
        const bytes = this.alterInputs ? Buffer.from(file.bytes).fill(0) : file.bytes;
        call.response.writeHead(200, { "content-length": bytes.byteLength }).end(bytes);
        return;
      }
      case "outputs":
        return live.ended === null
          ? this.#output(call, live, Number(below[1]), below.slice(2))
          : refuse(call, refusal("lease_lost", ""));
      default:
        return refuse(call, refusal("not_found", ""));
    }
    this.#changed();
  }

  #output(call: Call, live: LiveLease, index: number, below: string[]): undefined {
    const { headers } = call.request;
    const hash = String(headers[SHA256_HEADER] ?? "");
    const [multipart, part] = below;
    if (multipart === undefined) {
      if (headers["content-length"] === undefined) return refuse(call, refusal("length_required", ""));
      const contentType = headers["content-type"] ?? "";
      const refused = this.state.store(live, index, { bytes: call.body, sha256: hash, contentType, parts: 1 });
      return refused === null ? answer(call, {}) : refuse(call, refused);
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
      return answer(call, { upload_id: uploadId });
    }
    if (part === "complete") {
      const message = read(CompleteMultipart, call);
      if (message === null) return;
      const upload = live.uploads.get(message.upload_id);
      if (upload === undefined) return refuse(call, refusal("not_found", "upload"));
      const parts = message.parts.map(({ part: number }) => upload.parts.get(number) ?? Buffer.alloc(0));
      const small = parts
        .slice(0, -1)
        .some((each) => each.byteLength < (this.#options.partBytesMin ?? 5 * 1024 * 1024));
      const bytes = Buffer.concat(parts);
      if (small || bytes.byteLength !== upload.size) return refuse(call, refusal("checksum_mismatch", "parts"));
      const { sha256, contentType } = upload;
      const refused = this.state.store(live, index, { bytes, sha256, contentType, parts: parts.length });
      return refused === null ? answer(call, {}) : refuse(call, refused);
    }
    const upload = live.uploads.get(call.url.searchParams.get("upload_id") ?? "");
    if (upload === undefined) return refuse(call, refusal("not_found", "upload"));
    upload.parts.set(Number(part), call.body);
    answer(call, { part: Number(part), etag: `etag-${part}` });
  }

  /** 200 at once, newlines while nothing is to be said, one line of JSON at the end. */
  async #long(call: Call, waitMs: number, decide: (isLast: boolean) => object | null): Promise<void> {
    const { response } = call;
    response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    const deadline = performance.now() + waitMs;
    const heartbeat = setInterval(() => response.write("\n"), this.#options.heartbeatMs ?? POLL_HEARTBEAT_MS);
    try {
      for (;;) {
        if (response.destroyed) return;
        const decided = decide(performance.now() >= deadline);
        if (decided !== null) {
          if (call.loseAnswer) response.destroy();
          else response.end(`${JSON.stringify(decided)}\n`);
          return;
        }
        await this.#next(deadline - performance.now(), response);
      }
    } finally {
      clearInterval(heartbeat);
    }
  }

  /** Resolves at the next change, when the caller goes away, or after `ms`. */
  #next(ms: number, response: ServerResponse): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        response.off("close", done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, ms) + 1);
      this.#waiters.add(done);
      response.once("close", done);
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
  const parsed = schema.safeParse(call.body.length === 0 ? undefined : JSON.parse(call.body.toString("utf8")));
  if (parsed.success) return parsed.data;
  refuse(call, refusal("invalid_body", z.prettifyError(parsed.error)));
  return null;
}

function answer(call: Call, body: object): undefined {
  if (isRefusal(body)) return refuse(call, body);
  if (call.loseAnswer) {
    call.response.destroy();
    return;
  }
  if (Object.keys(body).length === 0) call.response.writeHead(204).end();
  else call.response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function refuse(call: Call, refused: Refusal): undefined {
  const { status } = problems[refused.code];
  call.response
    .writeHead(status, {
      "content-type": "application/problem+json",
      ...(refused.retryAfterS === undefined ? {} : { "retry-after": String(refused.retryAfterS) }),
    })
    .end(JSON.stringify(problemBody(refused.code, refused.detail, "req_test", refused.errors)));
}
