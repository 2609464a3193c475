import { env } from "cloudflare:workers";
import { type JWTHeaderParameters, SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { type Lease, SHA256_HEADER } from "#contract/agent";
import { type JsonObject, stringifyExactJson } from "#contract/exact-json";
import { FILE_BYTES_MAX } from "#contract/limits";
import {
  agentHeaders,
  freshPollId,
  joinNode,
  joinToken,
  pollLine,
  pollNode,
  pollReplica,
  putOutput,
  readyReplica,
  report,
  sendLease,
  type TestNode,
  type TestReplica,
  takeLease,
} from "#test/worker/agent-node";
import { png } from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  scaleGraph,
  send,
  submitJob,
  type TestWorkspace,
  textGraph,
} from "#test/worker/workspace";
import { sha256Hex, signingKey } from "#worker/auth/digest";
import { pollAnswer } from "#worker/http/poll-stream";

const joining = { name: "m", agent_version: "1", comfyui: "x", gpus: [], slots: 1 };
const nodePoll = {
  poll_id: "poll-x-0001",
  comfyui: "x",
  gpus: [],
  slots: 1,
  draining: false,
  replicas: [],
  wait_ms: 0,
};

interface Machine {
  readonly workspace: TestWorkspace;
  readonly replica: TestReplica;
  readonly lease: Lease;
  readonly job: JsonObject;
}

/** A workspace with one job on one machine. */
async function machineAtWork(): Promise<Machine> {
  const workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "fox", { workflow: textGraph(18446744073709551615n) });
  const job = await submitJob(workspace.key, "fox", { seed: 18446744073709551615n });
  const replica = await readyReplica(await joinNode(workspace));
  return { workspace, replica, lease: await takeLease(replica), job };
}

let mine: Machine;
let theirs: Machine;
beforeAll(async () => {
  mine = await machineAtWork();
  theirs = await machineAtWork();
});

describe("joining", () => {
  it("needs a living join token", async () => {
    const token = await joinToken(mine.workspace);
    const join = (key: string) => send("POST", "/agent/v1/nodes", { key, headers: agentHeaders(), json: joining });
    expect((await join(token)).status).toBe(201);
    expect((await join(token)).status).toBe(201);
    for (const bad of [
      `${token.slice(0, -1)}0`,
      token.replace("plj_", "pl_"),
      mine.workspace.key,
      "x",
      mine.replica.node.session,
    ]) {
      expect(await refusalOf(await join(bad))).toEqual({ status: 401, code: "unauthenticated" });
    }
    await env.CATALOG.prepare("UPDATE join_tokens SET expires_at = 1 WHERE hash = ?")
      .bind(await sha256Hex(token))
      .run();
    expect((await join(token)).status).toBe(401);
  });

  it("shows the machine in its pod, to its own workspace", async () => {
    const listed = await jsonOf(
      await send("GET", `/v1/pods/${mine.workspace.podId}/nodes`, { key: mine.workspace.key }),
    );
    expect(listed.data).toEqual(
      expect.arrayContaining([expect.objectContaining({ id: mine.replica.node.nodeId, online: true })]),
    );
  });

  it("needs the protocol this server speaks", async () => {
    const key = await joinToken(mine.workspace);
    for (const headers of [
      {},
      { "pilotlight-protocol": "0" },
      { "pilotlight-protocol": "2" },
      { "pilotlight-protocol": "1, 1" },
    ] as Record<string, string>[]) {
      const answer = await send("POST", "/agent/v1/nodes", { key, headers, json: joining });
      expect(await refusalOf(answer)).toEqual({ status: 426, code: "upgrade_required" });
    }
  });
});

describe("a node session", () => {
  const poll = (node: TestNode, key: string) =>
    send("POST", `/agent/v1/nodes/${node.nodeId}/poll`, { key, headers: agentHeaders(), json: nodePoll });
  const claims = () => ({ pod: mine.workspace.podId, ws: mine.workspace.workspaceId });
  const ours = { alg: "HS256", typ: "pilotlight-node+jwt" };
  const forge = async (
    change: (jwt: SignJWT) => SignJWT,
    key?: Uint8Array | CryptoKey,
    header: JWTHeaderParameters = ours,
  ) => {
    const jwt = new SignJWT(claims())
      .setProtectedHeader(header)
      .setSubject(mine.replica.node.nodeId)
      .setIssuer("pilotlight")
      .setAudience("pilotlight-agent")
      .setIssuedAt()
      .setExpirationTime("1h");
    return change(jwt).sign(key ?? (await signingKey(env.SIGNING_SECRET, "node session")));
  };
  const critical = (token: string) => {
    const header = btoa(JSON.stringify({ ...ours, crit: ["x"], x: 1 })).replaceAll("=", "");
    return [header, ...token.split(".").slice(1)].join(".");
  };
  const plain = (header: object, payload: object) =>
    `${[header, payload].map((part) => btoa(JSON.stringify(part)).replaceAll("=", "")).join(".")}.`;

  it("made as ours are is taken", async () => {
    expect((await poll(mine.replica.node, await forge((jwt) => jwt))).status).toBe(200);
  });

  it.each<[string, () => Promise<string>]>([
    ["another key", () => forge((jwt) => jwt, crypto.getRandomValues(new Uint8Array(32)))],
    [
      "the key of another purpose",
      async () => forge((jwt) => jwt, await signingKey(env.SIGNING_SECRET, "output link")),
    ],
    ["the bare secret", () => forge((jwt) => jwt, new TextEncoder().encode(env.SIGNING_SECRET))],
    [
      "another algorithm",
      () => forge((jwt) => jwt, crypto.getRandomValues(new Uint8Array(64)), { ...ours, alg: "HS512" }),
    ],
    ["another type", () => forge((jwt) => jwt, undefined, { ...ours, typ: "JWT" })],
    ["no type", () => forge((jwt) => jwt, undefined, { alg: "HS256" })],
    ["another audience", () => forge((jwt) => jwt.setAudience("pilotlight"))],
    ["another issuer", () => forge((jwt) => jwt.setIssuer("someone"))],
    ["an end that is past", () => forge((jwt) => jwt.setExpirationTime(1))],
    ["an invented subject", () => forge((jwt) => jwt.setSubject("node_1"))],
    [
      "alg none",
      async () => plain({ alg: "none", typ: "pilotlight-node+jwt" }, { sub: mine.replica.node.nodeId, ...claims() }),
    ],
    [
      "alg nOnE",
      async () => plain({ alg: "nOnE", typ: "pilotlight-node+jwt" }, { sub: mine.replica.node.nodeId, ...claims() }),
    ],
    ["a header it calls critical", async () => critical(await forge((jwt) => jwt))],
    ["an API key", async () => mine.workspace.key],
    ["nothing in it", async () => ".."],
  ])("with %s is refused", async (_name, make) => {
    expect(await refusalOf(await poll(mine.replica.node, await make()))).toEqual({
      status: 401,
      code: "unauthenticated",
    });
  });

  it("opens nothing of the public API", async () => {
    expect((await send("GET", "/v1/me", { key: mine.replica.node.session })).status).toBe(401);
  });

  it("speaks for its own node alone", async () => {
    const answer = await poll(theirs.replica.node, mine.replica.node.session);
    expect(await refusalOf(answer)).toEqual({ status: 404, code: "node_not_found" });
  });
});

describe("a poll", () => {
  it("answers with lines: nothing, then one of JSON", async () => {
    const answer = await send("POST", `/agent/v1/replicas/${mine.replica.replicaId}/poll`, {
      key: mine.replica.node.session,
      headers: agentHeaders(),
      json: {
        poll_id: freshPollId(),
        leases: [{ lease_id: mine.lease.lease_id, token: mine.lease.token }],
        wait_ms: 0,
      },
    });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("cache-control")).toContain("no-transform");
    expect(await pollLine(answer)).toMatchObject({ lease: null });
  });

  it("tells a refusal inside the stream, when the status is already sent", async () => {
    const invented = `${mine.replica.replicaId.slice(0, -9)}000000000`;
    const answer = await send("POST", `/agent/v1/replicas/${invented}/poll`, {
      key: mine.replica.node.session,
      headers: agentHeaders(),
      json: { poll_id: freshPollId(), leases: [], wait_ms: 0 },
    });
    expect(answer.status).toBe(200);
    expect(await pollLine(answer)).toMatchObject({ problem: { code: "replica_not_found", status: 404 } });
  });

  it("of another workspace's replica is unknown", async () => {
    const answer = await send("POST", `/agent/v1/replicas/${theirs.replica.replicaId}/poll`, {
      key: mine.replica.node.session,
      headers: agentHeaders(),
      json: { poll_id: freshPollId(), leases: [], wait_ms: 0 },
    });
    expect(await refusalOf(answer)).toEqual({ status: 404, code: "replica_not_found" });
  });

  it("is forgotten when its client goes away", async () => {
    let abandoned = 0;
    const background: Promise<unknown>[] = [];
    const arrival = {
      env,
      request: new Request("https://pilotlight.test/"),
      url: new URL("https://pilotlight.test/"),
      requestId: "req_x",
      waitUntil: (work: Promise<unknown>) => {
        background.push(work);
      },
    };
    const answer = pollAnswer(arrival, new Promise<object>(() => undefined), async () => {
      abandoned += 1;
    });
    await answer.body?.cancel();
    await Promise.all(background);
    expect(abandoned).toBe(1);
  });

  it("gives a session's successor when the old one nears its end", async () => {
    const soon = await new SignJWT({ pod: mine.workspace.podId, ws: mine.workspace.workspaceId })
      .setProtectedHeader({ alg: "HS256", typ: "pilotlight-node+jwt" })
      .setSubject(mine.replica.node.nodeId)
      .setIssuer("pilotlight")
      .setAudience("pilotlight-agent")
      .setIssuedAt()
      .setExpirationTime("2h")
      .sign(await signingKey(env.SIGNING_SECRET, "node session"));
    const held = [{ replica_id: mine.replica.replicaId, slot: mine.replica.slot, state: "busy" }];
    const { session } = await pollNode({ nodeId: mine.replica.node.nodeId, session: soon }, held);
    expect(session).toBeTypeOf("string");
    expect(
      (await pollNode({ nodeId: mine.replica.node.nodeId, session: session ?? "" }, held)).session,
    ).toBeUndefined();
  });
});

describe("what a replica runs", () => {
  const release = (replica: string, number: string, session = mine.replica.node.session) =>
    send("GET", `/agent/v1/replicas/${replica}/release?release=${number}`, { key: session, headers: agentHeaders() });

  it("is the release with its exact graph", async () => {
    const answer = await jsonOf(await release(mine.replica.replicaId, "1"));
    expect(answer).toMatchObject({ release: 1, endpoint: "fox", classes: expect.arrayContaining(["KSampler"]) });
    expect(String(answer.graph)).toContain("18446744073709551615");
    expect(mine.lease.inputs).toContain("18446744073709551615");
  });

  it("is nobody else's to see", async () => {
    expect((await release(mine.replica.replicaId, "2")).status).toBe(404);
    expect((await release(theirs.replica.replicaId, "1")).status).toBe(404);
    expect((await release(mine.replica.replicaId, "x")).status).toBe(422);
    // An id of the endpoint's that nobody gave out, and another node of the pod.
    const invented = `${mine.replica.replicaId.slice(0, -4)}zzzz`;
    expect(await refusalOf(await release(invented, "1"))).toEqual({ status: 404, code: "replica_not_found" });
    const beside = await joinNode(mine.workspace);
    expect(await refusalOf(await release(mine.replica.replicaId, "1", beside.session))).toEqual({
      status: 404,
      code: "replica_not_found",
    });
  });

  it("is closed to a node that was removed, and to one of a deleted pod", async () => {
    const { workspace, replica } = await machineAtWork();
    const { nodeId, session } = replica.node;
    expect((await release(replica.replicaId, "1", session)).status).toBe(200);
    const path = `/v1/pods/${workspace.podId}/nodes/${nodeId}`;
    expect((await send("DELETE", path, { key: workspace.key })).status).toBe(204);
    const unknown = { status: 404, code: "node_not_found" };
    expect(await refusalOf(await release(replica.replicaId, "1", session))).toEqual(unknown);
    await send("DELETE", "/v1/endpoints/fox", { key: workspace.key });
    expect((await send("DELETE", `/v1/pods/${workspace.podId}`, { key: workspace.key })).status).toBe(204);
    expect(await refusalOf(await release(replica.replicaId, "1", session))).toEqual(unknown);
  });
});

describe("a lease", () => {
  it("belongs to who holds its token", async () => {
    const wrong = { ...mine.lease, token: "1.000000000000000000000000" };
    const messages: [string, string, unknown][] = [
      ["POST", "progress", { phase: "executing" }],
      ["POST", "complete", { outputs: [], phases: [] }],
      ["POST", "fail", { error: { code: "execution_error", message: "x" }, phases: [] }],
      ["POST", "release", { reason: "x" }],
      ["GET", "inputs/0", undefined],
    ];
    for (const [method, path, json] of messages) {
      const body = json === undefined ? {} : { json };
      expect(await refusalOf(await sendLease(mine.replica, wrong, method, path, body))).toEqual({
        status: 409,
        code: "lease_lost",
      });
      expect(await refusalOf(await sendLease(mine.replica, theirs.lease, method, path, body))).toEqual({
        status: 409,
        code: "lease_lost",
      });
      const noToken = await sendLease(mine.replica, mine.lease, method, path, {
        ...body,
        headers: { "pilotlight-lease-token": "" },
      });
      expect([400, 409]).toContain(noToken.status);
    }
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(mine.job.id)}`, { key: mine.workspace.key }));
    expect(shown.state).toBe("running");
  });

  it("tells its holder when the job was canceled", async () => {
    const machine = await machineAtWork();
    await send("POST", `/v1/jobs/${String(machine.job.id)}/cancel`, { key: machine.workspace.key });
    const answer = await sendLease(machine.replica, machine.lease, "POST", "progress", {
      json: { phase: "executing" },
    });
    if (answer.status === 200) expect(await jsonOf(answer)).toMatchObject({ cancel: true });
    else expect(await refusalOf(answer)).toEqual({ status: 409, code: "lease_lost" });
    const late = await sendLease(machine.replica, machine.lease, "POST", "complete", {
      json: { outputs: [], phases: [] },
    });
    expect(await refusalOf(late)).toEqual({ status: 409, code: "lease_lost" });
  });

  it("that fails ends or repeats the job", async () => {
    const machine = await machineAtWork();
    const fail = () =>
      sendLease(machine.replica, machine.lease, "POST", "fail", {
        json: {
          error: { code: "execution_error", message: "node 3 broke", node_id: "3" },
          phases: [{ phase: "executing", ms: 5 }],
        },
      });
    expect((await fail()).status).toBe(204);
    expect((await fail()).status).toBe(204);
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(machine.job.id)}`, { key: machine.workspace.key }));
    expect(shown).toMatchObject({ state: "failed", error: { code: "execution_error", node_id: "3" } });
  });

  it("that is given back costs no attempt", async () => {
    const machine = await machineAtWork();
    expect(
      (await sendLease(machine.replica, machine.lease, "POST", "release", { json: { reason: "shutting down" } }))
        .status,
    ).toBe(204);
    const shown = await jsonOf(await send("GET", `/v1/jobs/${String(machine.job.id)}`, { key: machine.workspace.key }));
    expect(["queued", "running"]).toContain(shown.state);
  });

  it("hands on the next one with its completion", async () => {
    const machine = await machineAtWork();
    const second = await submitJob(machine.workspace.key, "fox");
    const answer = await sendLease(machine.replica, machine.lease, "POST", "complete", {
      json: { outputs: [], phases: [], next_poll_id: freshPollId() },
    });
    expect(await jsonOf(answer)).toMatchObject({ next: { job_id: second.id, attempt: 1 } });
  });
});

describe("inputs of a lease", () => {
  it("are streamed as they were uploaded", async () => {
    const workspace = await makeWorkspace();
    await makeEndpoint(workspace.key, "scale", { workflow: scaleGraph() });
    const picture = png(64, 64, 99);
    const uploaded = await send("POST", "/v1/files?filename=cat.png", {
      key: workspace.key,
      body: picture,
      headers: { "content-type": "image/png" },
    });
    const { id } = await jsonOf(uploaded);
    await submitJob(workspace.key, "scale", { image: id });
    const replica = await readyReplica(await joinNode(workspace));
    const lease = await takeLease(replica);
    expect(lease.files).toEqual([
      expect.objectContaining({ index: 0, input: "image", file_id: id, filename: "cat.png", size: picture.byteLength }),
    ]);
    const answer = await sendLease(replica, lease, "GET", "inputs/0");
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(picture);
    expect(answer.headers.get(SHA256_HEADER)).toBe(await sha256Hex(picture));
    expect((await sendLease(replica, lease, "GET", "inputs/1")).status).toBe(404);
    expect((await sendLease(replica, lease, "GET", "inputs/x")).status).toBe(404);
  });
});

describe("outputs of a lease", () => {
  const put = (index: string, body: BodyInit, headers: Record<string, string>) =>
    sendLease(mine.replica, mine.lease, "PUT", `outputs/${index}`, { body, headers });

  it("need a length, a hash, and bytes that fit both", async () => {
    const bytes = png(1, 1);
    const sha256 = await sha256Hex(bytes);
    const right = { [SHA256_HEADER]: sha256, "content-length": String(bytes.byteLength) };
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes);
        controller.close();
      },
    });
    expect(await refusalOf(await put("1", stream, { [SHA256_HEADER]: sha256 }))).toEqual({
      status: 411,
      code: "length_required",
    });
    expect(await refusalOf(await put("1", bytes, { "content-length": String(bytes.byteLength) }))).toEqual({
      status: 400,
      code: "malformed_request",
    });
    expect(await refusalOf(await put("1", bytes, { ...right, [SHA256_HEADER]: "0".repeat(64) }))).toEqual({
      status: 422,
      code: "checksum_mismatch",
    });
    expect(await refusalOf(await put("1", bytes, { ...right, "content-length": String(FILE_BYTES_MAX + 1) }))).toEqual({
      status: 413,
      code: "body_too_large",
    });
    for (const length of ["10", "1000"]) {
      expect([400, 422]).toContain((await put("1", bytes, { ...right, "content-length": length })).status);
    }
    expect((await put("-1", bytes, right)).status).toBe(404);
    expect((await put("1000", bytes, right)).status).toBe(404);
    const { objects } = await env.STORE.list({ prefix: `out/d7/${mine.workspace.workspaceId}/` });
    expect(objects).toEqual([]);
    expect((await put("1", bytes, right)).status).toBe(204);
  });

  it("lie where the server puts them", async () => {
    const { objects } = await env.STORE.list({ prefix: `out/d7/${mine.workspace.workspaceId}/` });
    expect(objects.map((object) => object.key)).toEqual([
      `out/d7/${mine.workspace.workspaceId}/${String(mine.job.id)}/${mine.lease.token}/1`,
    ]);
  });

  it("share no index and no name", async () => {
    const { entry } = await putOutput(mine.replica, mine.lease, 2, png(2, 2));
    const answer = await sendLease(mine.replica, mine.lease, "POST", "complete", {
      json: { outputs: [entry, entry], phases: [] },
    });
    expect(await refusalOf(answer)).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/outputs/1/index", "/outputs/1/name"],
    });
  });

  it("go up in parts when they are large", async () => {
    const machine = await machineAtWork();
    const partBytes = 5 * 1024 * 1024;
    const whole = new Uint8Array(partBytes + 1_000).map((_, index) => index % 251);
    const sha256 = await sha256Hex(whole);
    const message = (
      method: string,
      path: string,
      sent: { json?: unknown; body?: BodyInit; headers?: Record<string, string> },
    ) => sendLease(machine.replica, machine.lease, method, `outputs/0/multipart${path}`, sent);
    const started = await jsonOf(
      await message("POST", "", { json: { size: whole.byteLength, sha256, content_type: "video/mp4" } }),
    );
    const uploadId = String(started.upload_id);
    const parts: JsonObject[] = [];
    for (const [index, bytes] of [whole.subarray(0, partBytes), whole.subarray(partBytes)].entries()) {
      const headers = { "content-length": String(bytes.byteLength), [SHA256_HEADER]: await sha256Hex(bytes) };
      const path = `/${index + 1}?upload_id=${encodeURIComponent(uploadId)}`;
      const wrong = await message("PUT", path, {
        body: bytes,
        headers: { ...headers, [SHA256_HEADER]: "0".repeat(64) },
      });
      expect(await refusalOf(wrong)).toEqual({ status: 422, code: "checksum_mismatch" });
      parts.push(await jsonOf(await message("PUT", path, { body: bytes, headers })));
    }
    expect(parts).toEqual([
      { part: 1, etag: expect.any(String) },
      { part: 2, etag: expect.any(String) },
    ]);
    for (const odd of [[...parts, parts[0]], [{ ...parts[0], part: 10_001 }]]) {
      const answer = await message("POST", "/complete", { json: { upload_id: uploadId, parts: odd } });
      expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_body", paths: ["/parts"] });
    }
    const unknown = await message("POST", "/complete", { json: { upload_id: "nonsense", parts } });
    expect([409, 503]).toContain(unknown.status);
    expect(
      (await message("POST", "/complete", { json: { upload_id: uploadId, parts: parts.toReversed() } })).status,
    ).toBe(204);
    expect((await message("POST", "/complete", { json: { upload_id: uploadId, parts } })).status).toBe(204);
    const entry = {
      index: 0,
      name: "film.mp4",
      output: "video",
      kind: "video",
      filename: "film.mp4",
      content_type: "video/mp4",
      size: whole.byteLength,
    };
    const complete = (hash: string) =>
      sendLease(machine.replica, machine.lease, "POST", "complete", {
        json: { outputs: [{ ...entry, sha256: hash }], phases: [] },
      });
    expect(await refusalOf(await complete("0".repeat(64)))).toEqual({ status: 409, code: "output_conflict" });
    expect((await complete(sha256)).status).toBe(200);
    const download = await send("GET", `/v1/jobs/${String(machine.job.id)}/outputs/film.mp4`, {
      key: machine.workspace.key,
    });
    expect(await sha256Hex(new Uint8Array(await download.arrayBuffer()))).toBe(sha256);
  });
});

describe("a report of a replica", () => {
  it("is answered with the release to run", async () => {
    expect(await report(mine.replica, "ready")).toMatchObject({ release: 1, stop: expect.any(Boolean) });
    expect((await pollReplica(mine.replica)).stop).toBeTypeOf("boolean");
    const foreign = await send("POST", `/agent/v1/replicas/${theirs.replica.replicaId}/state`, {
      key: mine.replica.node.session,
      headers: agentHeaders(),
      json: { state: "ready", phases: [] },
    });
    expect(await refusalOf(foreign)).toEqual({ status: 404, code: "replica_not_found" });
  });

  it("of the wrong form names its fields", async () => {
    const answer = await send("POST", `/agent/v1/replicas/${mine.replica.replicaId}/state`, {
      key: mine.replica.node.session,
      headers: { ...agentHeaders(), "content-type": "application/json" },
      body: stringifyExactJson({ state: "fine", phases: [{ phase: "x", ms: -1 }], more: 1 }),
    });
    expect(await refusalOf(answer)).toMatchObject({ status: 422, paths: ["/state", "/phases/0/ms", "/more"] });
  });
});
