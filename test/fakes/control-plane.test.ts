import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Lease } from "#contract/agent";
import type { EndpointId, JobId, ReplicaId } from "#contract/ids";
import { ControlPlane } from "./control-plane.ts";
import { sha256 } from "./control-plane-state.ts";

let plane: ControlPlane;
let session: string;
let endpointId: EndpointId;
let replicaId: ReplicaId;

beforeEach(async () => {
  plane = await ControlPlane.start({ heartbeatMs: 50, leaseConfirmMs: 60_000, leaseMs: 60_000, partBytesMin: 2 });
  ({ session } = plane.state.join());
  endpointId = plane.state.addEndpoint({ graph: '{"1": {"class_type": "A"}}', inputs: [], outputs: [] });
  replicaId = plane.state.place(endpointId, 0);
});
afterEach(() => plane.close());

async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const isBytes = body instanceof Uint8Array;
  const response = await fetch(`${plane.url}/agent/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${session}`, "pilotlight-protocol": "1", ...headers },
    ...(body === undefined ? {} : { body: isBytes ? new Uint8Array(body) : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    text,
    json: (text.trim() === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
  };
}

const poll = (poll_id: string, wait_ms = 0, leases: object[] = []) =>
  call("POST", `replicas/${replicaId}/poll`, { poll_id, leases, wait_ms });

async function leased(): Promise<{
  lease: Lease;
  jobId: JobId;
  about: (below: string) => string;
  token: Record<string, string>;
}> {
  const jobId = plane.state.enqueue(endpointId, {});
  const lease = (await poll("poll-id-1")).json.lease as Lease;
  return {
    lease,
    jobId,
    about: (below) => `leases/${lease.lease_id}/${below}`,
    token: { "pilotlight-lease-token": lease.token },
  };
}

const bytes = new Uint8Array([1, 2, 3]);
const entry = (content: Uint8Array, index = 0) => ({
  index,
  name: `image_${index}.png`,
  output: "image",
  kind: "image",
  filename: "a.png",
  content_type: "image/png",
  size: content.byteLength,
  sha256: sha256(content),
});

describe("who may ask", () => {
  it("joins with the join token, and is known by its session", async () => {
    const message = { name: "n", agent_version: "1", comfyui: "x", gpus: [], slots: 1 };
    const joined = await call("POST", "nodes", message, { authorization: `Bearer ${plane.joinToken}` });
    expect(plane.state.sessions.get(String(joined.json.session))).toBe(joined.json.node_id);
    expect((await call("POST", "nodes", message, { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await call("POST", "nodes", message, { "pilotlight-protocol": "0" })).status).toBe(426);
    expect((await call("POST", `replicas/${replicaId}/poll`, {}, { authorization: "Bearer wrong" })).status).toBe(401);
  });

  it("is refused with a message that does not fit", async () => {
    expect(await poll("short")).toMatchObject({ status: 422, json: { code: "invalid_body" } });
    expect((await call("POST", "replicas/rep_x/poll", {})).json.code).toBe("replica_not_found");
  });
});

describe("polls", () => {
  it("answer with newlines while they wait, and one line when there is work", async () => {
    const polling = poll("poll-id-2", 30_000);
    setTimeout(() => plane.state.enqueue(endpointId, {}), 200);
    const { text, json } = await polling;
    expect(text).toMatch(/^\n+\{.*\}\n$/);
    expect(json.lease).toMatchObject({ attempt: 1, release: 1 });
  });

  it("give the same lease for the same id, and another one for another id", async () => {
    const { lease } = await leased();
    plane.state.enqueue(endpointId, {});
    expect((await poll("poll-id-1")).json.lease).toEqual(lease);
    const held = [{ lease_id: lease.lease_id, token: lease.token }];
    expect((await poll("poll-id-2", 0, held)).json.lease).not.toEqual(lease);
  });

  it("give back what the replica no longer names", async () => {
    const { jobId } = await leased();
    await poll("poll-id-2");
    expect(plane.state.jobs.get(jobId)?.attempts).toBe(2);
  });

  it("tell a node what differs from what it runs", async () => {
    const node = [...plane.state.sessions.values()][0];
    const message = {
      poll_id: "poll-id-1",
      comfyui: "x",
      gpus: [],
      slots: 1,
      draining: false,
      replicas: [],
      wait_ms: 30_000,
    };
    const answer = await call("POST", `nodes/${node}/poll`, message);
    expect(answer.json.replicas).toEqual([{ replica_id: replicaId, slot: 0, endpoint_id: endpointId, action: "run" }]);
    expect((await call("POST", "nodes/node_other/poll", message)).json.code).toBe("node_not_found");
  });
});

describe("leases", () => {
  it("count only with their token", async () => {
    const { about } = await leased();
    const wrong = { "pilotlight-lease-token": "1.000000000000000000000000" };
    expect((await call("POST", about("progress"), { phase: "assigned" }, wrong)).json.code).toBe("lease_lost");
  });

  it("end unconfirmed, and unrenewed", async () => {
    await plane.close();
    plane = await ControlPlane.start({ leaseConfirmMs: 50, leaseMs: 100 });
    ({ session } = plane.state.join());
    endpointId = plane.state.addEndpoint({ graph: "{}", inputs: [], outputs: [] });
    replicaId = plane.state.place(endpointId, 0);
    const { jobId } = await leased();
    await plane.until("it is queued again", () => plane.state.jobs.get(jobId)?.state === "queued");
    const again = (await poll("poll-id-9")).json.lease as Lease;
    const token = { "pilotlight-lease-token": again.token };
    await call("POST", `leases/${again.lease_id}/progress`, { phase: "assigned" }, token);
    await plane.until("it is queued again", () => plane.state.jobs.get(jobId)?.state === "queued");
  });

  it("complete with stored outputs alone, twice with one answer, and carry the next lease", async () => {
    const { about, token, jobId } = await leased();
    plane.state.enqueue(endpointId, {});
    const message = { outputs: [entry(bytes)], phases: [], next_poll_id: "poll-id-2" };
    expect((await call("POST", about("complete"), message, token)).json.code).toBe("output_missing");
    const sent = (content: Uint8Array) =>
      call("PUT", about("outputs/0"), content, {
        ...token,
        "pilotlight-sha256": sha256(content),
        "content-type": "image/png",
      });
    expect((await sent(bytes)).status).toBe(204);
    expect((await sent(bytes)).status).toBe(204);
    expect((await sent(new Uint8Array([9]))).json.code).toBe("output_conflict");
    const first = await call("POST", about("complete"), message, token);
    expect(first.json.next).toMatchObject({ attempt: 1 });
    expect((await call("POST", about("complete"), message, token)).json).toEqual(first.json);
    expect(plane.state.jobs.get(jobId)?.outputs[0]?.bytes).toEqual(Buffer.from(bytes));
  });

  it("take outputs in parts", async () => {
    const { about, token, jobId } = await leased();
    const start = { size: 3, sha256: sha256(bytes), content_type: "image/png" };
    const { upload_id } = (await call("POST", about("outputs/0/multipart"), start, token)).json;
    const parts = [];
    for (const [number, part] of [bytes.slice(0, 2), bytes.slice(2)].entries()) {
      const path = about(`outputs/0/multipart/${number + 1}?upload_id=${encodeURIComponent(String(upload_id))}`);
      parts.push((await call("PUT", path, part, token)).json);
    }
    const done = await call("POST", about("outputs/0/multipart/complete"), { upload_id, parts }, token);
    expect(done.status).toBe(204);
    await call("POST", about("complete"), { outputs: [entry(bytes)], phases: [] }, token);
    expect(plane.state.jobs.get(jobId)).toMatchObject({ state: "succeeded", outputs: [{ parts: 2 }] });
  });

  it("refuse altered bytes", async () => {
    const { about, token } = await leased();
    const headers = { ...token, "pilotlight-sha256": "0".repeat(64) };
    expect((await call("PUT", about("outputs/0"), bytes, headers)).json.code).toBe("checksum_mismatch");
  });

  it("fail for good or for another try, and can be given back without a cost", async () => {
    const error = (code: string) => ({ error: { code, message: "x" }, phases: [] });
    const first = await leased();
    await call("POST", first.about("fail"), error("out_of_memory"), first.token);
    expect(plane.state.jobs.get(first.jobId)).toMatchObject({ state: "queued", attempts: 1 });
    const again = (await poll("poll-id-3")).json.lease as Lease;
    const token = { "pilotlight-lease-token": again.token };
    await call("POST", `leases/${again.lease_id}/release`, { reason: "x" }, token);
    expect(plane.state.jobs.get(first.jobId)).toMatchObject({ state: "queued", attempts: 1 });
    const third = (await poll("poll-id-4")).json.lease as Lease;
    const last = { "pilotlight-lease-token": third.token };
    await call("POST", `leases/${third.lease_id}/fail`, error("execution_error"), last);
    expect(plane.state.jobs.get(first.jobId)).toMatchObject({ state: "failed", attempts: 2 });
  });

  it("tell of a cancel, and count for nothing afterwards", async () => {
    const { about, token, jobId } = await leased();
    plane.state.cancel(jobId);
    expect((await call("POST", about("progress"), { phase: "assigned" }, token)).json.cancel).toBe(true);
    expect((await call("POST", about("complete"), { outputs: [], phases: [] }, token)).json.code).toBe("lease_lost");
  });
});

describe("trouble", () => {
  it("loses an answer after the work was done", async () => {
    const { about, token, jobId } = await leased();
    plane.plan(/complete$/, { type: "lose_answer" });
    await expect(call("POST", about("complete"), { outputs: [], phases: [] }, token)).rejects.toThrow();
    expect(plane.state.jobs.get(jobId)?.state).toBe("succeeded");
  });

  it("refuses, as the server or as a proxy, so many times", async () => {
    plane.plan(/poll$/, { type: "refuse", code: "unavailable", retryAfterS: 2 });
    plane.plan(/poll$/, { type: "proxy_error", status: 502 });
    expect((await poll("poll-id-1")).json.code).toBe("unavailable");
    const response = await fetch(`${plane.url}/agent/v1/replicas/x/poll`, { method: "POST" });
    expect([response.status, await response.text()]).toEqual([502, "<h1>Bad gateway</h1>"]);
    expect((await poll("poll-id-1")).status).toBe(200);
  });

  it("is away and comes back with its memory", async () => {
    const { jobId } = await leased();
    const { url } = plane;
    await plane.stop();
    await expect(fetch(url)).rejects.toThrow();
    await plane.listen();
    expect(plane.url).toBe(url);
    expect(plane.state.jobs.get(jobId)?.state).toBe("running");
  });
});

describe("a replica's socket", () => {
  /** Says one text after the other, each when the one before was answered. @returns the answers, or the close code */
  async function talk(texts: readonly string[], bearer = session): Promise<(string | number)[]> {
    const headers = { authorization: `Bearer ${bearer}`, "pilotlight-protocol": "1" };
    const address = `${plane.url.replace("http", "ws")}/agent/v1/replicas/${replicaId}/socket`;
    const socket = new WebSocket(address, { headers } as unknown as string[]);
    const heard: (string | number)[] = [];
    await new Promise<void>((resolve) => {
      const next = () => {
        const text = texts[heard.length];
        if (text === undefined) resolve();
        else socket.send(text);
      };
      socket.addEventListener("open", next);
      socket.addEventListener("message", ({ data }) => {
        heard.push(String(data));
        next();
      });
      socket.addEventListener("error", () => undefined);
      socket.addEventListener("close", ({ code }) => {
        heard.push(code);
        resolve();
      });
    });
    socket.close();
    return heard;
  }
  const pollCall = (n: number) =>
    JSON.stringify({ n, call: "poll", body: { poll_id: "poll-id-9", leases: [], wait_ms: 0 } });

  it("answers pings, and calls by their number", async () => {
    const [pong, first, second] = await talk(["ping", pollCall(7), pollCall(8)]);
    expect(pong).toBe("pong");
    const answer = { lease: null, ended: [], stop: false, verify: null };
    expect([first, second].map((text) => JSON.parse(String(text)))).toEqual([
      { n: 7, answer },
      { n: 8, answer },
    ]);
    expect(plane.socketCalls).toEqual(Array.from({ length: 2 }, () => `POST replicas/${replicaId}/poll`));
  });

  it("goes on from a complete as a poll, which lists no leases", async () => {
    const { lease } = await leased();
    const body = { outputs: [], phases: [], next_poll_id: "poll-id-2", next_wait_ms: 50 };
    const complete = JSON.stringify({ n: 1, call: "complete", lease: lease.lease_id, token: lease.token, body });
    const heard = await talk([complete, "ping"]);
    expect(JSON.parse(String(heard[0]))).toEqual({ n: 1, answer: { next: null, waits: true } });
    expect(heard[1]).toBe("pong");
  });

  it("is closed for what is no call, refused to strangers, and replaced by the next one", async () => {
    expect(await talk(['{"n": 1, "call": "dance"}'])).toEqual([4002]);
    expect(await talk(["ping"], "pls_wrong")).toEqual([1006]);
    const first = talk([pollCall(1).replace('"wait_ms":0', '"wait_ms":60000')]);
    await plane.until("it is open", () => plane.socketCalls.length === 1);
    await talk(["ping"]);
    expect(await first).toEqual([4000]);
  });
});
