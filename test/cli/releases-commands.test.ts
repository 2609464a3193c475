import { expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { json, problem, scriptedServer } from "#test/client/scripted-server";

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
    ["2", "0".repeat(12)],
    ["1", "active"],
  ]);
});
