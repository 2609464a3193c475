import { describe, expect, it } from "vitest";
import { figureText, nodeFrame, nodeState } from "#cli/node-figures";
import { type CommandLineResult, runHere } from "#test/cli/command-line";
import { exampleFigures, exampleNode, examplePod, NODE_ID, OTHER_NODE_ID, POD_ID } from "#test/client/example-pod";
import { type Answer, json, problem, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

const env = (server: ScriptedServer) => ({
  PILOTLIGHT_TOKEN: "pl_x",
  PILOTLIGHT_API_URL: server.url,
  PILOTLIGHT_RETRY_S: "0",
});
const pods = json(200, { data: [examplePod()] });
const nodes = (...data: unknown[]) => json(200, { data });
const callsOf = (server: ScriptedServer) => server.seen.map(({ method, url }) => `${method} ${url}`);

/** Runs a command against these answers, as on a terminal. */
async function shown(argv: string[], more: { answer?: string; signal?: AbortSignal }, ...answers: Answer[]) {
  const server = await scriptedServer(...answers);
  return { server, result: await runHere(argv, { env: env(server), isTerminal: true, ...more }) };
}

describe("nodes ls", () => {
  it("shows where each machine is, its card, and what keeps it from work", async () => {
    const attic = exampleNode({
      id: OTHER_NODE_ID,
      name: "attic",
      region: null,
      gpu_type: null,
      cordoned: true,
      quarantine: { reason: "It lied.", since: "2026-11-21T10:00:00.000Z", until: null },
    });
    const { server, result } = await shown(["nodes", "ls"], {}, pods, nodes(exampleNode(), attic));
    expect(callsOf(server)).toEqual(["GET /v1/pods", `GET /v1/pods/${POD_ID}/nodes`]);
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^NODE +NAME +REGION /);
    expect(result.stdout).toMatch(/cellar +eu-west +online +NVIDIA GeForce RTX 4090 +rtx-4090 +0 of 1/);
    expect(result.stdout).toMatch(/attic +– +quarantined, cordoned/);
  });

  it("asks one pod alone, by its name", async () => {
    const { server, result } = await shown(["nodes", "ls", "--pod", "rack"], {}, pods, nodes());
    expect([result.code, callsOf(server).length]).toEqual([0, 2]);
    const wrong = await shown(["nodes", "ls", "--pod", "rak"], {}, pods);
    expect(wrong.result).toMatchObject({ code: 5, stderr: expect.stringContaining("Did you mean rack?") });
  });
});

describe("a node on the command line", () => {
  it.each([
    ["drain", exampleNode({ draining: true }), "draining"],
    ["undrain", exampleNode(), "online"],
    ["cordon", exampleNode({ cordoned: true }), "cordoned"],
    ["uncordon", exampleNode(), "online"],
    ["trust", exampleNode(), "online"],
  ])("is named to %s by name or by id", async (verb, changed, state) => {
    const byName = await shown(["nodes", verb, "cellar"], {}, pods, nodes(exampleNode()), json(200, changed));
    expect(callsOf(byName.server).at(-1)).toBe(`POST /v1/pods/${POD_ID}/nodes/${NODE_ID}/${verb}`);
    expect(byName.result.stdout).toBe(`cellar (${NODE_ID}): ${state}\n`);
    // An id says which pod it is of.
    const byId = await shown(["nodes", verb, NODE_ID], {}, pods, json(200, changed));
    expect(callsOf(byId.server)).toEqual(["GET /v1/pods", `POST /v1/pods/${POD_ID}/nodes/${NODE_ID}/${verb}`]);
  });

  it("that two have is not guessed", async () => {
    const twin = exampleNode({ id: OTHER_NODE_ID, online: false });
    const { server, result } = await shown(["nodes", "drain", "cellar"], {}, pods, nodes(exampleNode(), twin));
    expect(result).toMatchObject({ code: 5, stderr: expect.stringContaining(`${OTHER_NODE_ID} (offline)`) });
    expect(callsOf(server)).toHaveLength(2);
  });

  it("that nobody has is told with the near one", async () => {
    const { result } = await shown(["nodes", "show", "celar"], {}, pods, nodes(exampleNode()));
    expect(result).toMatchObject({ code: 5, stderr: expect.stringContaining("Did you mean cellar?") });
    const unknown = await shown(["nodes", "show", NODE_ID], {}, json(200, { data: [] }));
    expect(unknown.result).toMatchObject({ code: 5, stderr: expect.stringContaining("no_node") });
  });

  it("is removed when its name is typed, and not otherwise", async () => {
    const gone: Answer = (_, response) => void response.writeHead(204).end();
    const kept = await shown(["nodes", "rm", "cellar"], { answer: "attic" }, pods, nodes(exampleNode()), gone);
    expect(callsOf(kept.server)).toHaveLength(2);
    expect(kept.result.code).not.toBe(0);
    expect(kept.result.stderr).toContain("the jobs it has in hand are finished");
    const removed = await shown(["nodes", "rm", "cellar"], { answer: "cellar" }, pods, nodes(exampleNode()), gone);
    expect(callsOf(removed.server).at(-1)).toBe(`DELETE /v1/pods/${POD_ID}/nodes/${NODE_ID}`);
    expect(removed.result.stdout).toContain("is removed");
  });

  it("is shown with what it has", async () => {
    const inventory = {
      os: "Ubuntu 24.04",
      cpu: "AMD Ryzen 9",
      cpu_cores: 16,
      memory_mb: 65_536,
      disk_total_mb: 512_000,
      disk_free_mb: 102_400,
      driver: "560.35",
      cuda: "12.6",
      python: "3.12.4",
      node: "24.1.0",
      builds: ["a".repeat(64)],
      models: [],
    };
    const node = exampleNode({ inventory, metrics: exampleFigures(93) });
    const { result } = await shown(["nodes", "show", NODE_ID], {}, pods, json(200, node));
    for (const text of ["Ubuntu 24.04  driver 560.35", "card 0: NVIDIA GeForce RTX 4090, 24564 MiB", "CUDA: 12.6"]) {
      expect(result.stdout).toContain(text);
    }
    expect(result.stdout).toContain("builds on its disk: 1");
  });
});

describe("nodes watch", () => {
  const looks = (...busy: number[]) => busy.map((each) => json(200, exampleNode({ metrics: exampleFigures(each) })));

  it("paints one picture over the other on a terminal", async () => {
    const { server, result } = await shown(["nodes", "watch", NODE_ID, "--count", "2"], {}, pods, ...looks(10, 95));
    expect(result.code).toBe(0);
    expect(callsOf(server).slice(1)).toEqual(Array(2).fill(`GET /v1/pods/${POD_ID}/nodes/${NODE_ID}`));
    const [first = "", second = ""] = result.stdout.split(/\u001b\[\d+A/);
    expect(first).toContain(" 10 %  61 °C  312 W");
    expect(second).toContain(" 95 %");
    const lines = first.split("\n").length - 1;
    expect(result.stdout).toContain(`\u001b[${lines}A`);
  });

  it("writes a line each time where nothing can be painted over, and events for programs", async () => {
    const plain = await scriptedServer(pods, ...looks(10, 95));
    const argv = ["nodes", "watch", NODE_ID, "--count", "2"];
    const text = await runHere(argv, { env: env(plain) });
    expect(text.stdout.trimEnd().split("\n")).toHaveLength(2);
    expect(text.stdout).toContain("gpu0 95% 12.0 of 24.0 GB 61°C");
    const server = await scriptedServer(pods, ...looks(10, 95));
    const streamed = await runHere([...argv, "--json-stream"], { env: env(server) });
    const events = streamed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(events.map(({ type }) => type)).toEqual(["node", "node", undefined]);
    expect(events.at(-1)).toMatchObject({ ok: true, data: { looks: 2 } });
  });

  it("ends with Ctrl-C as it is meant to", async () => {
    const stop = new AbortController();
    const answers: Answer[] = [
      pods,
      (request, response) => {
        void looks(10)[0]?.(request, response);
        setTimeout(() => stop.abort(new Error("Interrupted")), 50);
      },
    ];
    const { result } = await shown(["nodes", "watch", NODE_ID], { signal: stop.signal }, ...answers);
    expect(result.code).toBe(0);
  });

  it("says why when the node is gone", async () => {
    const { result } = await shown(["nodes", "watch", NODE_ID], {}, pods, problem(404, "node_not_found", false));
    expect(result).toMatchObject({ code: 5, stderr: expect.stringContaining("node_not_found") });
  });
});

describe("the picture of a node", () => {
  const at = Date.parse("2026-11-21T10:00:02.000Z");

  it("has a bar for all that has an end, and a dash for what nobody measured", () => {
    const lines = nodeFrame(exampleNode({ metrics: exampleFigures(50) }), at);
    expect(lines).toContain(`GPU 0     ${"█".repeat(10)}${" ".repeat(10)}  50 %  61 °C  312 W`);
    expect(lines).toContain(`  VRAM    ${"█".repeat(10)}${" ".repeat(10)} 12.0 of 24.0 GB`);
    expect(lines).toContain(`CPU       ${"█".repeat(5)}${" ".repeat(15)}  25 %`);
    expect(lines).toContain(`disk      ${"█".repeat(16)}${" ".repeat(4)} 400.0 of 500.0 GB`);
    expect(lines).toContain("network   in 1.25 MB/s  out –");
    expect(lines).toContain("slot 0    free");
    expect(lines.at(-1)).toBe("figures of 2026-11-21T10:00:00.000Z, 2.0 s ago");
  });

  it("without figures says when they come, and draws nothing", () => {
    const frame = nodeFrame(exampleNode({ gpus: [], gpu_type: null }), at).join("\n");
    expect(frame).toContain("No figures yet");
    expect(frame).toContain("no GPU");
    expect(frame).not.toContain("█");
    expect(figureText(exampleNode())).toBe("no figures yet");
  });

  it("copes with what is null", () => {
    const nothing = {
      ...exampleFigures(0),
      gpus: [
        { index: 0, busy_percent: null, vram_used_mb: null, vram_total_mb: null, temperature_c: null, power_w: null },
      ],
      cpu_percent: null,
      memory_used_mb: 1_024,
      memory_total_mb: null,
      disk_free_mb: null,
    };
    const lines = nodeFrame(exampleNode({ metrics: nothing }), at);
    expect(lines).toContain("GPU 0     –");
    expect(lines).toContain("  VRAM    –");
    expect(lines).toContain("memory    1.0 GB");
    expect(lines).toContain("disk      ? of 500.0 GB");
  });

  it("names every state that keeps it from work", () => {
    expect(nodeState(exampleNode())).toBe("online");
    expect(nodeState(exampleNode({ online: false, draining: true }))).toBe("offline, draining");
  });
});

describe("node join", () => {
  it.each([
    ["--region", ["--region", "EU West"], {}],
    ["PILOTLIGHT_REGION", [], { PILOTLIGHT_REGION: "eu_west" }],
  ])("refuses a name that is no region, given as %s, before anything starts", async (_, words, more) => {
    const argv = ["node", "join", "--url", "http://127.0.0.1:1", "--join-token", "plj_x", "--stand-in", ...words];
    const { code, stderr }: CommandLineResult = await runHere(argv, { env: more, isTerminal: true });
    expect(code).not.toBe(0);
    expect(stderr).toContain("--region: 1 to 40 lower-case letters, digits, inner hyphens");
  });
});
