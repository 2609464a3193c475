import { describe, expect, it } from "vitest";
import { EndpointId, makeId } from "#contract/ids";
import { runHere } from "#test/cli/command-line";
import {
  exampleGpuType,
  exampleNode,
  examplePod,
  examplePodDetail,
  exampleToken,
  POD_ID,
  TOKEN_ID,
} from "#test/client/example-pod";
import { type Answer, json, problem, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

const pods = json(200, { data: [examplePod(), examplePod({ name: "cloud" })] });
const gone: Answer = (_, response) => void response.writeHead(204).end();
const bodyOf = (server: ScriptedServer, index: number) => JSON.parse(server.seen[index]?.body ?? "null") as unknown;
const callsOf = (server: ScriptedServer) => server.seen.map(({ method, url }) => `${method} ${url}`);

/** Runs a command against these answers, as on a terminal. */
async function shown(argv: string[], answer: string | undefined, ...answers: Answer[]) {
  const server = await scriptedServer(...answers);
  const env = { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url, PILOTLIGHT_RETRY_S: "0" };
  const more = answer === undefined ? {} : { answer };
  return { server, result: await runHere(argv, { env, isTerminal: true, ...more }) };
}

describe("pods ls and show", () => {
  it("say which cards a pod takes, and what an hour of them costs", async () => {
    const pod = examplePodDetail({ gpu_types: ["rtx-4090", "l4"], prices: { "rtx-4090": 0.08 }, regions: ["home"] });
    const list = await shown(["pods", "ls"], undefined, json(200, { data: [pod] }));
    expect(list.result.stdout).toMatch(/rack +rtx-4090, l4 +by slots +home/);
    const types = json(200, {
      data: [
        exampleGpuType(),
        exampleGpuType({ name: "l4", price_per_hour: 0.44 }),
        exampleGpuType({ name: "t4", price_per_hour: 0.2, changed: ["price_per_hour"] }),
      ],
      prices_as_of: "2026-11-21",
    });
    const nodes = json(200, { data: [exampleNode({ gpu_type: "t4" })] });
    const { server, result } = await shown(["pods", "show", POD_ID], undefined, json(200, pod), nodes, types);
    expect(callsOf(server)).toEqual([`GET /v1/pods/${POD_ID}`, `GET /v1/pods/${POD_ID}/nodes`, "GET /v1/gpu-types"]);
    expect(result.stdout).toContain("rtx-4090: $0.08 an hour (of this pod)");
    expect(result.stdout).toContain("l4: $0.44 an hour (shipped)");
    expect(result.stdout).toContain("t4: $0.20 an hour (of the workspace)");
    expect(result.stdout).toMatch(/cellar +node_\S+ +online +t4 +0 of 1/);
    expect(result.stdout).toContain("nodes     1 of 1 online; new work goes to 1\n");
    expect(result.stdout).toContain("slots     0 of 1 taken; 1 free\n");
    expect(result.stdout).toContain("replicas  none\n");
  });

  it("say how a pod stands: its slots and replicas, and who waits, why and for how long", async () => {
    const none = { total: 0, placed: 0, preparing: 0, booting: 0, loading: 0, ready: 0, draining: 0 };
    const has = { wanted: 1, needed: 1, have: 1, trials: 0, waits_since: null, shortage: null };
    const id = (at: number) => makeId(EndpointId, "ep", at, (length) => new Uint8Array(length));
    const pod = examplePodDetail(
      {},
      {
        nodes: { total: 3, online: 2, open: 1 },
        slots: { total: 4, taken: 3, draining: 1, free: 0 },
        containers_left: 0,
        replicas: { ...none, total: 3, loading: 1, ready: 1, draining: 1 },
        endpoints: [
          {
            ...{ endpoint_id: id(1), wanted: 2, needed: 2, have: 1, trials: 0 },
            replicas: { ...none, total: 1, loading: 1 },
            waits_since: new Date(Date.now() - 10 * 60_000).toISOString(),
            shortage: { code: "crash_looping", error: "driver too old" },
          },
          { ...has, endpoint_id: id(2), replicas: { ...none, total: 2, ready: 1, draining: 1 } },
          { ...has, endpoint_id: id(3), wanted: 0, needed: 0, have: 0, trials: 2, replicas: none },
        ],
        endpoints_total: 103,
      },
    );
    const answers = [json(200, pod), json(200, { data: [] }), json(200, { data: [], prices_as_of: "2026-11-21" })];
    const { result } = await shown(["pods", "show", "rack"], undefined, pods, ...answers);
    expect(result.stdout).toContain("nodes     2 of 3 online; new work goes to 1\n");
    expect(result.stdout).toContain("slots     3 of 4 taken, 1 of them draining; 0 free, with 0 containers left\n");
    expect(result.stdout).toContain("replicas  1 loading, 1 ready, 1 draining\n");
    expect(result.stdout).toMatch(/ep_\S+ +2 +2 +1 +1 loading +10 min \d+ s +crash_looping: driver too old\n/);
    expect(result.stdout).toMatch(/ep_\S+ +1 +1 +1 +1 ready, 1 draining\n/);
    expect(result.stdout).toMatch(/ep_\S+ +0 +0 +0 +none +a release is to be tried on other cards: 2\n/);
    expect(result.stdout).toContain("and 100 more\n");
    const asJson = await shown(["pods", "show", POD_ID, "--json"], undefined, ...answers);
    expect(JSON.parse(asJson.result.stdout)).toMatchObject({ data: { pod: { capacity: pod.capacity } } });
  });
});

describe("pods create and set", () => {
  it("send what they are told, cards in their order", async () => {
    const words = ["--gpu", "rtx-4090", "--gpu", "rtx-3090,l4", "--region", "home", "--price", "rtx-4090=0.08"];
    const more = ["--containers", "4", "--min-replicas", "1", "--idle-timeout", "none", "--description", "the rack"];
    const { server, result } = await shown(
      ["pods", "create", "rack", ...words, ...more],
      undefined,
      json(201, examplePod()),
    );
    expect(bodyOf(server, 0)).toEqual({
      name: "rack",
      description: "the rack",
      gpu_types: ["rtx-4090", "rtx-3090", "l4"],
      containers_max: 4,
      regions: ["home"],
      min_replicas: 1,
      idle_timeout_s: null,
      prices: { "rtx-4090": 0.08 },
    });
    expect(result.stdout).toContain(`pilotlight pods tokens create ${POD_ID}`);
  });

  it("do not ask the pod's own object, by its id either, so that a setting is changed also while that is away", async () => {
    const argv = ["pods", "set", POD_ID, "--containers", "2"];
    const { server } = await shown(argv, undefined, pods, json(200, examplePod()));
    expect(callsOf(server)).toEqual(["GET /v1/pods", `PATCH /v1/pods/${POD_ID}`]);
  });

  it("change one price and leave the others", async () => {
    const prices = { l4: 0.4, t4: 0.2 };
    const { server } = await shown(
      ["pods", "set", "rack", "--price", "l4=none", "--price", "h200=3", "--gpu", "any", "--name", "cellar"],
      undefined,
      json(200, { data: [examplePod({ prices })] }),
      json(200, examplePod()),
    );
    expect(callsOf(server)).toEqual(["GET /v1/pods", `PATCH /v1/pods/${POD_ID}`]);
    expect(bodyOf(server, 1)).toEqual({ name: "cellar", gpu_types: [], prices: { t4: 0.2, h200: 3 } });
  });

  it.each([
    [["pods", "set", "rack"], "Nothing to change"],
    [["pods", "set", "rack", "--price", "l4"], "--price takes a card and dollars"],
    [["pods", "set", "rack", "--gpu", "RTX 4090"], "--gpu takes a name such as rtx-4090"],
    [["pods", "create", "rack", "--containers", "0"], "--containers must be a whole number"],
    [["pods", "create"], "name is missing"],
  ])("tell wrong words before they ask the server: %j", async (argv, message) => {
    const { server, result } = await shown(argv, undefined, pods);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
    expect(server.seen).toEqual([]);
  });

  it("pass on what the server says of cards it does not know", async () => {
    const refused: Answer = (_, response) =>
      void response.writeHead(422, { "content-type": "application/problem+json" }).end(
        JSON.stringify({
          type: "/docs/problems#invalid_body",
          title: "Fields of the body are not valid",
          status: 422,
          code: "invalid_body",
          detail: 'There is no GPU type "4090".',
          request_id: "req_1",
          retryable: false,
          errors: [{ path: "/gpu_types/0", reason: 'There is no GPU type "4090". Did you mean rtx-4090?' }],
        }),
      );
    const { result } = await shown(["pods", "create", "rack", "--gpu", "4090"], undefined, refused);
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain("Did you mean rtx-4090?");
  });
});

describe("pods rm", () => {
  it("asks for the name, and says what stands in the way", async () => {
    const kept = await shown(["pods", "rm", "rack"], "cloud", pods, gone);
    expect(callsOf(kept.server)).toEqual(["GET /v1/pods"]);
    const deleted = await shown(["pods", "rm", "rack"], "rack", pods, gone);
    expect(callsOf(deleted.server)).toEqual(["GET /v1/pods", `DELETE /v1/pods/${POD_ID}`]);
    const used = await shown(["pods", "rm", "rack", "--yes"], undefined, pods, problem(409, "pod_in_use", false));
    expect(used.result.stderr).toContain("pod_in_use");
    expect(used.result.code).not.toBe(0);
  });
});

describe("pods tokens", () => {
  it("are made for one machine or many, with the command for the other one", async () => {
    const token = exampleToken({ token: "plj_secret", uses_max: 1 });
    const argv = ["pods", "tokens", "create", "rack", "--uses", "1", "--expires-in", "3600", "--name", "cellar"];
    const { server, result } = await shown(argv, undefined, pods, json(201, token));
    expect(callsOf(server)[1]).toBe(`POST /v1/pods/${POD_ID}/join-tokens`);
    expect(bodyOf(server, 1)).toEqual({ name: "cellar", expires_in: 3600, uses_max: 1 });
    expect(result.stdout).toContain("for one machine to join rack");
    expect(result.stdout).toContain(`node join --url ${server.url} --join-token plj_secret`);
  });

  it("are made in the default pod by the short command too", async () => {
    const { server } = await shown(["node", "token"], undefined, pods, json(201, exampleToken({ token: "plj_s" })));
    expect(callsOf(server)).toEqual(["GET /v1/pods", `POST /v1/pods/${POD_ID}/join-tokens`]);
    expect(bodyOf(server, 1)).toEqual({});
  });

  it("are listed with what has become of them", async () => {
    const data = [
      exampleToken({ name: "open", uses: 3 }),
      exampleToken({ name: "used", uses_max: 1, uses: 1 }),
      exampleToken({ name: "old", expires_at: "2020-01-01T00:00:00.000Z" }),
      exampleToken({ name: "taken back", revoked_at: "2026-01-01T00:00:00.000Z" }),
    ];
    const { result } = await shown(["pods", "tokens", "ls"], undefined, pods, json(200, { data, next_cursor: null }));
    expect(result.stdout).toMatch(/open +3 of any +open/);
    expect(result.stdout).toMatch(/used +1 of 1 +used/);
    expect(result.stdout).toMatch(/old +0 of any +expired/);
    expect(result.stdout).toMatch(/taken back +0 of any +revoked/);
  });

  it("are revoked", async () => {
    const argv = ["pods", "tokens", "revoke", TOKEN_ID, "--pod", "rack"];
    const { server, result } = await shown(argv, undefined, pods, gone);
    expect(callsOf(server)[1]).toBe(`DELETE /v1/pods/${POD_ID}/join-tokens/${TOKEN_ID}`);
    expect(result.stdout).toBe(`${TOKEN_ID} is revoked.\n`);
  });

  it("without a verb say which there are", async () => {
    const { result } = await shown(["pods", "tokens"], undefined, pods);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringContaining("It takes: ls, create, revoke") });
    const wrong = await shown(["pods", "tokens", "revok"], undefined, pods);
    expect(wrong.result.stderr).toContain("Did you mean `pilotlight pods tokens revoke`?");
    const other = await shown(["pods", "shw"], undefined, pods);
    expect(other.result.stderr).toContain("Did you mean `pilotlight pods show`?");
  });
});

describe("gpus", () => {
  it("are listed with memory, price and where it comes from", async () => {
    const data = [exampleGpuType(), exampleGpuType({ name: "mine", own: true, bandwidth_gb_s: null })];
    const { result } = await shown(["gpus", "ls"], undefined, json(200, { data, prices_as_of: "2026-11-21" }));
    expect(result.stdout).toMatch(/rtx-4090 +24 GB +\$0\.34 +1008 GB\/s +Flux in FP8/);
    expect(result.stdout).toMatch(/mine +24 GB +\$0\.34 +– +own/);
    expect(result.stdout).toContain("Shipped prices are of 2026-11-21");
  });

  it("get a price, or are added", async () => {
    const set = await shown(["gpus", "set", "rtx-4090", "--price", "0.08"], undefined, json(200, exampleGpuType()));
    expect(callsOf(set.server)).toEqual(["PUT /v1/gpu-types/rtx-4090"]);
    expect(bodyOf(set.server, 0)).toEqual({ price_per_hour: 0.08 });
    const words = ["--price", "0.4", "--vram", "48", "--match", "RTX 4090", "--match", "RTX 4090 48GB"];
    const added = await shown(["gpus", "set", "mine", ...words], undefined, json(200, exampleGpuType()));
    expect(bodyOf(added.server, 0)).toEqual({
      price_per_hour: 0.4,
      vram_mb: 49_152,
      matches: ["RTX 4090", "RTX 4090 48GB"],
    });
    const reset = await shown(["gpus", "reset", "rtx-4090"], undefined, gone);
    expect(callsOf(reset.server)).toEqual(["DELETE /v1/gpu-types/rtx-4090"]);
  });

  it.each([
    [["gpus", "set", "l4", "--price", "cheap"], "--price takes dollars"],
    [["gpus", "set", "l4"], "Nothing to set"],
  ])("tell wrong words: %j", async (argv, message) => {
    const { server, result } = await shown(argv, undefined, gone);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
    expect(server.seen).toEqual([]);
  });
});
