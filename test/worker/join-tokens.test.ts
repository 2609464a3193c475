import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { JoinedNode } from "#contract/agent";
import type { JsonObject } from "#contract/exact-json";
import { ownerKey } from "#contract/ids";
import { JOIN_TOKEN_USES_MAX, JOIN_TOKENS_PER_POD_MAX } from "#contract/limits";
import type { JoinToken } from "#contract/replica";
import type { PodRpc } from "#durable-objects/pod/rpc";
import { agentHeaders, pollNode } from "#test/worker/agent-node";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const pathOf = ({ podId }: TestWorkspace) => `/v1/pods/${podId}/join-tokens`;
const make = async (json: JsonObject = {}, owner = workspace): Promise<JoinToken> => {
  const answer = await send("POST", pathOf(owner), { key: owner.key, json });
  expect(answer.status).toBe(201);
  return (await jsonOf(answer)) as unknown as JoinToken;
};
const list = async (owner = workspace, query = ""): Promise<JoinToken[]> =>
  (await jsonOf(await send("GET", `${pathOf(owner)}${query}`, { key: owner.key }))).data as unknown as JoinToken[];
const usesOf = async ({ id }: JoinToken) => (await list()).find((each) => each.id === id)?.uses;
const revoke = (token: string, key = workspace.key) => send("DELETE", `${pathOf(workspace)}/${token}`, { key });

let machines = 0;
const join = ({ token }: JoinToken, more: JsonObject = {}): Promise<Response> => {
  machines += 1;
  const json = { join_id: `machine-${machines}`, name: "m", agent_version: "1", comfyui: "test", gpus: [], slots: 1 };
  return send("POST", "/agent/v1/nodes", { key: token, headers: agentHeaders(), json: { ...json, ...more } });
};
const refused = (code: string) => ({ status: 401, code });

describe("a join token", () => {
  it("is made for any number of machines and a day, unless told otherwise", async () => {
    const token = await make();
    expect(token).toMatchObject({ name: "", uses_max: null, uses: 0, revoked_at: null, pod_id: workspace.podId });
    expect(Date.parse(token.expires_at) - Date.parse(token.created_at)).toBe(86_400_000);
    for (const _ of [1, 2, 3]) expect((await join(token)).status).toBe(201);
    expect(await usesOf(token)).toBe(3);
  });

  it("needs nothing said about it, not even an empty body", async () => {
    const own = await makeWorkspace();
    const answer = await send("POST", pathOf(own), { key: own.key });
    expect(answer.status).toBe(201);
    expect(await jsonOf(answer)).toMatchObject({ name: "", uses_max: null, token: expect.any(String) });
  });

  it("is shown once, and stored as a hash alone", async () => {
    const { token, id } = await make({ name: "the rack", uses_max: 4, expires_in: 3600 });
    const listed = (await list()).find((each) => each.id === id);
    expect(listed).toMatchObject({ name: "the rack", uses_max: 4, uses: 0 });
    expect(listed).not.toHaveProperty("token");
    const rows = await env.CATALOG.prepare("SELECT * FROM join_tokens").all();
    expect(JSON.stringify(rows.results)).not.toContain(token);
  });

  it("lets so many machines in, and says why the next one stays out", async () => {
    const token = await make({ uses_max: 2 });
    expect((await join(token)).status).toBe(201);
    expect((await join(token)).status).toBe(201);
    const third = await join(token);
    expect(third.headers.get("www-authenticate")).toContain("Bearer");
    expect(await jsonOf(third)).toMatchObject({ ...refused("join_token_used"), detail: expect.stringContaining("2") });
    expect(await usesOf(token)).toBe(2);
  });

  it("for any number has a bound all the same", async () => {
    const token = await make();
    const rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)";
    await env.CATALOG.prepare(`${rows} INSERT INTO joins SELECT ?1, 'old ' || i, 'node', 1 FROM n`)
      .bind(token.id, JOIN_TOKEN_USES_MAX)
      .run();
    expect(await refusalOf(await join(token))).toEqual(refused("join_token_used"));
  });

  it("for one machine lets one in of many that race", async () => {
    const token = await make({ uses_max: 1 });
    const answers = await Promise.all(Array.from({ length: 8 }, () => join(token)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, ...Array.from({ length: 7 }, () => 401)]);
    for (const answer of answers) await answer.body?.cancel();
    expect(await usesOf(token)).toBe(1);
  });

  it("knows a machine that did not hear the answer, also when both tries arrive together", async () => {
    const token = await make({ uses_max: 1 });
    const same = { join_id: "the-same-machine" };
    const answers = await Promise.all([join(token, same), join(token, same), join(token, same)]);
    const nodes = await Promise.all(answers.map(async (answer) => JoinedNode.parse(await answer.json()).node_id));
    expect(new Set(nodes).size).toBe(1);
    await env.CATALOG.prepare("UPDATE join_tokens SET expires_at = 1 WHERE id = ?").bind(token.id).run();
    const late = JoinedNode.parse(await (await join(token, same)).json());
    expect(late.node_id).toBe(nodes[0]);
    expect(await pollNode({ nodeId: late.node_id, session: late.session }, [])).toMatchObject({ replicas: [] });
    expect(await usesOf(token)).toBe(1);
    const listed = await jsonOf(await send("GET", `/v1/pods/${workspace.podId}/nodes`, { key: workspace.key }));
    expect((listed.data as { id: string }[]).filter(({ id }) => id === late.node_id)).toHaveLength(1);
  });

  it("is over when it expires", async () => {
    const token = await make();
    await env.CATALOG.prepare("UPDATE join_tokens SET expires_at = 1 WHERE id = ?").bind(token.id).run();
    expect(await refusalOf(await join(token))).toEqual(refused("join_token_expired"));
  });

  it("that was revoked opens nothing, though machines that joined stay", async () => {
    const token = await make();
    const same = { join_id: "joined-before" };
    const { node_id: nodeId, session } = JoinedNode.parse(await (await join(token, same)).json());
    expect((await revoke(token.id)).status).toBe(204);
    const once = (await list()).find((each) => each.id === token.id)?.revoked_at;
    expect(once).not.toBeNull();
    expect((await revoke(token.id)).status).toBe(204);
    expect((await list()).find((each) => each.id === token.id)?.revoked_at).toBe(once);
    expect(await refusalOf(await join(token))).toEqual(refused("join_token_revoked"));
    expect(await refusalOf(await join(token, same))).toEqual(refused("join_token_revoked"));
    expect(await pollNode({ nodeId, session }, [])).toMatchObject({ replicas: [] });
  });

  it("is not used up by a machine that the pod refuses", async () => {
    const own = await makeWorkspace();
    const change = await send("PATCH", `/v1/pods/${own.podId}`, { key: own.key, json: { gpu_types: ["rtx-4090"] } });
    expect(change.status).toBe(200);
    const token = await make({ uses_max: 1 }, own);
    const card = (name: string, vram_mb: number) => ({ index: 0, name, uuid: null, vram_mb, driver: null });
    const wrong = await join(token, { gpus: [card("NVIDIA GeForce RTX 4090 Laptop GPU", 16_376)] });
    expect(await jsonOf(wrong)).toMatchObject({
      status: 409,
      code: "gpu_mismatch",
      detail: expect.stringContaining("rtx-4090"),
    });
    expect((await list(own))[0]?.uses).toBe(0);
    expect((await join(token, { gpus: [card("NVIDIA GeForce RTX 4090", 24_564)] })).status).toBe(201);
    expect((await list(own))[0]?.uses).toBe(1);
  });

  it("stays used by a machine that had its node, whatever the pod says to it later", async () => {
    const own = await makeWorkspace();
    const token = await make({ uses_max: 1 }, own);
    const once = { join_id: "the-only-machine" };
    const { node_id } = JoinedNode.parse(await (await join(token, once)).json());
    // The pod never heard of it: the call on the way to it was lost.
    const pod = env.PODS.getByName(ownerKey(own.podId)) as unknown as PodRpc;
    await pod.removeNode(own.workspaceId, node_id);
    await send("PATCH", `/v1/pods/${own.podId}`, { key: own.key, json: { gpu_types: ["rtx-4090"] } });
    expect(await refusalOf(await join(token, once))).toEqual({ status: 409, code: "gpu_mismatch" });
    await send("PATCH", `/v1/pods/${own.podId}`, { key: own.key, json: { gpu_types: [] } });
    expect(await refusalOf(await join(token))).toEqual(refused("join_token_used"));
  });

  it("does not bring back a node that was removed: its machine is a new one, where one more may join", async () => {
    const own = await makeWorkspace();
    const same = { join_id: "the-same-machine" };
    for (const [uses_max, answer] of [
      [1, 401],
      [2, 201],
    ] as const) {
      const token = await make({ uses_max }, own);
      const first = JoinedNode.parse(await (await join(token, same)).json());
      expect((await send("DELETE", `/v1/pods/${own.podId}/nodes/${first.node_id}`, { key: own.key })).status).toBe(204);
      const again = await join(token, same);
      expect(again.status).toBe(answer);
      if (answer === 201) expect(JoinedNode.parse(await again.json()).node_id).not.toBe(first.node_id);
      else expect(await jsonOf(again)).toMatchObject({ code: "join_token_used" });
      const listed = await jsonOf(await send("GET", `/v1/pods/${own.podId}/nodes`, { key: own.key }));
      expect((listed.data as { id: string }[]).map(({ id }) => id)).not.toContain(first.node_id);
      expect((await list(own)).find(({ id }) => id === token.id)?.uses).toBe(uses_max);
    }
  });

  it("does not bring it back either when its machine joins again just then", async () => {
    const own = await makeWorkspace();
    for (let round = 0; round < 8; round += 1) {
      const token = await make({ uses_max: 1 }, own);
      const same = { join_id: "the-same-machine" };
      const { node_id: id } = JoinedNode.parse(await (await join(token, same)).json());
      const path = `/v1/pods/${own.podId}/nodes/${id}`;
      const again = [join(token, same), join(token, same), send("DELETE", path, { key: own.key }), join(token, same)];
      for (const answer of await Promise.all(again)) await answer.body?.cancel();
      expect((await send("GET", path, { key: own.key })).status).toBe(404);
    }
  });

  it("tells strangers nothing: an invented one, one of another kind and a torn one are alike", async () => {
    const { token = "" } = await make({ uses_max: 1 });
    const other = token.endsWith("0") ? "1" : "0";
    for (const bad of [`${token.slice(0, -1)}${other}`, token.replace("plj_", "pl_"), workspace.key, "plj_"]) {
      expect(await refusalOf(await join({ token: bad } as JoinToken))).toEqual(refused("unauthenticated"));
    }
    // Nothing of the body is looked at before.
    const blind = await send("POST", "/agent/v1/nodes", { key: "plj_x", headers: agentHeaders(), body: "not json" });
    expect(await refusalOf(blind)).toEqual(refused("unauthenticated"));
  });
});

describe("the tokens of a pod", () => {
  it("are listed newest first, page by page, each once", async () => {
    const own = await makeWorkspace();
    for (const name of ["1", "2", "3"]) await make({ name }, own);
    const first = await jsonOf(await send("GET", `${pathOf(own)}?limit=2`, { key: own.key }));
    const rest = await jsonOf(
      await send("GET", `${pathOf(own)}?limit=2&cursor=${String(first.next_cursor)}`, { key: own.key }),
    );
    const names = [first, rest].flatMap((page) => (page.data as { name: string }[]).map(({ name }) => name));
    expect(names).toEqual(["3", "2", "1"]);
    expect(rest.next_cursor).toBeNull();
    const elsewhere = `/v1/keys?cursor=${String(first.next_cursor)}`;
    expect(await refusalOf(await send("GET", elsewhere, { key: own.key }))).toMatchObject({ code: "invalid_cursor" });
  });

  it("are swept a month after they were over, with what is known of their use", async () => {
    const own = await makeWorkspace();
    const old = await make({ name: "old" }, own);
    expect((await join(old)).status).toBe(201);
    await env.CATALOG.prepare("UPDATE join_tokens SET expires_at = ? WHERE id = ?")
      .bind(Date.now() - 31 * 86_400_000, old.id)
      .run();
    await make({ name: "new" }, own);
    await expect.poll(async () => (await list(own)).map(({ name }) => name)).toEqual(["new"]);
    const left = await env.CATALOG.prepare("SELECT * FROM joins WHERE token_id = ?").bind(old.id).all();
    expect(left.results).toEqual([]);
  });

  it("are at most so many that are neither over nor revoked", async () => {
    const own = await makeWorkspace();
    const rows = Array.from({ length: JOIN_TOKENS_PER_POD_MAX }, (_, index) =>
      env.CATALOG.prepare(
        "INSERT INTO join_tokens (id, workspace_id, pod_id, hash, created_at, expires_at) VALUES (?, ?, ?, ?, 1, ?)",
      ).bind(`${own.podId} ${index}`, own.workspaceId, own.podId, `${own.podId} ${index}`, Date.now() + 3_600_000),
    );
    await env.CATALOG.batch(rows);
    const over = await send("POST", pathOf(own), { key: own.key, json: {} });
    expect(await refusalOf(over)).toEqual({ status: 409, code: "join_token_limit" });
    await env.CATALOG.prepare("UPDATE join_tokens SET revoked_at = 1 WHERE id = ?").bind(`${own.podId} 0`).run();
    expect((await send("POST", pathOf(own), { key: own.key, json: {} })).status).toBe(201);
  });

  it("are out of reach for strangers", async () => {
    const token = await make();
    expect(await refusalOf(await send("GET", pathOf(workspace), { key: stranger.key }))).toMatchObject({ status: 404 });
    expect(await refusalOf(await revoke(token.id, stranger.key))).toEqual({ status: 404, code: "pod_not_found" });
    const wrongPod = `${pathOf(stranger)}/${token.id}`;
    expect(await refusalOf(await send("DELETE", wrongPod, { key: stranger.key }))).toEqual({
      status: 404,
      code: "join_token_not_found",
    });
    expect(await refusalOf(await send("POST", pathOf(workspace), { key: stranger.key, json: {} }))).toMatchObject({
      code: "pod_not_found",
    });
    expect((await join(token)).status).toBe(201);
  });

  it("need numbers that make sense", async () => {
    const json = { expires_in: 1, uses_max: 0, pod: "x" };
    expect(await refusalOf(await send("POST", pathOf(workspace), { key: workspace.key, json }))).toEqual({
      status: 422,
      code: "invalid_body",
      paths: ["/expires_in", "/uses_max", "/pod"],
    });
  });
});
