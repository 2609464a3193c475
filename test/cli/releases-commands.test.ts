import { describe, expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { type Answer, json, problem, scriptedServer } from "#test/client/scripted-server";

const keyed = (url: string) => ["--url", url, "--token", "pl_key"];

it("rolls back from the release that was seen as active", async () => {
  const server = await scriptedServer(json(200, exampleEndpoint()), problem(409, "no_previous_release", false));
  const { code, stdout } = await runHere(["releases", "rollback", "text-to-image", ...keyed(server.url), "--json"]);
  expect(code).not.toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: "no_previous_release" } });
  expect(server.seen.map(({ method, url, body }) => [method, url, body])).toEqual([
    ["GET", "/v1/endpoints/text-to-image", ""],
    ["POST", "/v1/endpoints/text-to-image/rollback", '{"from":1}'],
  ]);
});

it("activates the release of that number, and refuses what is none before it asks anybody", async () => {
  const server = await scriptedServer(json(200, exampleEndpoint()));
  const wrong = await runHere(["releases", "activate", "text-to-image", "v2", ...keyed(server.url)]);
  expect(wrong.code).not.toBe(0);
  expect(server.seen).toEqual([]);
  const right = await runHere(["releases", "activate", "text-to-image", "1", ...keyed(server.url), "--json"]);
  expect(right.code).toBe(0);
  expect(server.seen.map(({ url }) => url)).toEqual(["/v1/endpoints/text-to-image/releases/1/activate"]);
});

it("sets a canary with the bounds that were given, and shows how it does", async () => {
  const arm = { succeeded: 20, failed: 3, execution_ms_mean: 812.4, execution_ms_p95: 1403.9 };
  const canary = {
    release: 2,
    weight: 0.1,
    max_error_rate_increase: 0.05,
    max_latency_ratio: 1.2,
    min_jobs: 20,
    since: "2026-01-01T00:00:00.000Z",
    results: {
      state: "rolled_back",
      ended_at: "2026-01-01T01:00:00.000Z",
      reason: "Too slow.",
      canary: arm,
      active: arm,
    },
  };
  const server = await scriptedServer(json(200, { ...exampleEndpoint(), canary }));
  const command = ["releases", "canary", "text-to-image", "2", ...keyed(server.url)];
  const missing = await runHere(command);
  const wrong = await runHere([...command, "--weight", "half"]);
  expect([missing.code, wrong.code].includes(0)).toBe(false);
  expect(server.seen).toEqual([]);
  const set = await runHere([...command, "--weight", "0.1", "--max-latency-ratio", "1.2"], { isTerminal: true });
  expect([set.code, set.stderr]).toEqual([0, ""]);
  expect(server.seen.map(({ url, body }) => [url, JSON.parse(body)])).toEqual([
    ["/v1/endpoints/text-to-image/releases/2/canary", { weight: 0.1, max_latency_ratio: 1.2 }],
  ]);
  expect(set.stdout.trim().split("\n")).toEqual([
    "canary: release 2 was rolled back at 2026-01-01T01:00:00.000Z: Too slow.",
    "  canary: 20 succeeded, 3 failed, 812 ms on average, p95 1404 ms",
    "  active: 20 succeeded, 3 failed, 812 ms on average, p95 1404 ms",
  ]);
});

it("lists releases for people, the active one marked", async () => {
  const release = (number: number) => ({
    ...(exampleEndpoint().release as object),
    number,
    endpoint_id: exampleEndpoint().id,
    active: number === 1,
    canary: null,
  });
  const server = await scriptedServer(json(200, { data: [release(2), release(1)], next_cursor: null }));
  const listed = await runHere(["releases", "ls", "text-to-image", ...keyed(server.url)], { isTerminal: true });
  const words = listed.stdout
    .trim()
    .split("\n")
    .map((line) => line.split(/ +/).slice(0, 2));
  expect(words).toEqual([
    ["RELEASE", "STATE"],
    ["2", "ready"],
    ["1", "active"],
  ]);
});

/** The log of a release as a stream: its lines, and the end. */
function logStream(state: string, ...texts: string[]): Answer {
  const lines = texts.map((text, index) => {
    const line = { n: index + 1, at: "2026-01-01T00:00:01.000Z", gpu_type: "rtx-4090", replica_id: null, text };
    return `id: ${index + 1}\nevent: line\ndata: ${JSON.stringify(line)}\n\n`;
  });
  return (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(`${lines.join("")}event: end\ndata: ${JSON.stringify({ state })}\n\n`);
  };
}

describe("a release that waits for its place", () => {
  const pending = {
    release: 2,
    canary: null,
    state: "verifying",
    since: "2026-01-01T00:00:00.000Z",
    waits_for: "replica",
    reason: "It waits for a replica on rtx-4090 that can try it.",
    verification: [],
  };
  const waiting = { ...exampleEndpoint(), pending };
  const second = { ...(exampleEndpoint().release as object), number: 2 };
  const activate = (url: string, ...more: string[]) =>
    runHere(["releases", "activate", "text-to-image", "2", ...keyed(url), ...more]);

  it("is followed line by line until it has it", async () => {
    const server = await scriptedServer(
      json(200, waiting),
      logStream("ready", "The graph has run as it was saved.", "Release 2 is ready."),
      json(200, { ...exampleEndpoint(), release: second }),
    );
    const { code, stdout, stderr } = await activate(server.url, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ data: { endpoint: { release: { number: 2 }, pending: null } } });
    expect(stderr.trim().split("\n")).toEqual([
      expect.stringContaining("It waits for a replica on rtx-4090"),
      "rtx-4090  The graph has run as it was saved.",
      "rtx-4090  Release 2 is ready.",
    ]);
    expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([
      "POST /v1/endpoints/text-to-image/releases/2/activate",
      "GET /v1/endpoints/text-to-image/releases/2/logs",
      "GET /v1/endpoints/text-to-image",
    ]);
  });

  it("ends the command with its reason where it cannot run", async () => {
    const failed = {
      ...second,
      endpoint_id: exampleEndpoint().id,
      active: false,
      canary: null,
      state: "failed",
      verification: [
        {
          gpu_type: "rtx-4090",
          state: "failed",
          replica_id: null,
          error: "This ComfyUI has no node class Sharpen.",
          started_at: null,
          finished_at: null,
        },
      ],
    };
    const server = await scriptedServer(
      json(200, waiting),
      logStream("failed", "Release 2 cannot run."),
      json(200, exampleEndpoint()),
      json(200, failed),
    );
    const { code, stdout } = await activate(server.url, "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error).toMatchObject({
      code: "release_failed",
      message: "Release 2 cannot run on rtx-4090: This ComfyUI has no node class Sharpen.",
    });
  });

  it("says so when somebody wanted another one meanwhile", async () => {
    const server = await scriptedServer(
      json(200, waiting),
      logStream("untried"),
      json(200, exampleEndpoint()),
      json(200, { ...second, endpoint_id: exampleEndpoint().id, active: false, canary: null, state: "untried" }),
    );
    const { code, stdout } = await activate(server.url, "--json");
    expect([code, JSON.parse(stdout).error.code]).toEqual([1, "release_replaced"]);
  });

  it("is left to itself with --no-wait, and not waited for with --force", async () => {
    const server = await scriptedServer(json(200, waiting), json(200, { ...exampleEndpoint(), release: second }));
    const left = await activate(server.url, "--no-wait");
    expect([left.code, left.stdout]).toEqual([0, expect.stringContaining('"waits_for":"replica"')]);
    const forced = await activate(server.url, "--force");
    expect(forced.code).toBe(0);
    expect(server.seen.map(({ body }) => JSON.parse(body))).toEqual([{ force: false }, { force: true }]);
  });
});
