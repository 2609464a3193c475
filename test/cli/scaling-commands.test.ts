import { describe, expect, it } from "vitest";
import { warmWindowOf } from "#cli/warm-window";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { type Answer, json, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

const env = (server: ScriptedServer) => ({
  PILOTLIGHT_TOKEN: "pl_x",
  PILOTLIGHT_API_URL: server.url,
  PILOTLIGHT_RETRY_S: "0",
});
const bodyOf = (server: ScriptedServer, index: number) => JSON.parse(server.seen[index]?.body ?? "null") as unknown;

async function shown(argv: string[], ...answers: Answer[]) {
  const server = await scriptedServer(...answers);
  return { server, result: await runHere(argv, { env: env(server), isTerminal: true }) };
}

const hourAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString();
const scaling = (more: Record<string, unknown> = {}) => ({
  policy: "predictive",
  wanted: 3,
  floor: 1,
  ceiling: 10,
  replicas: { starting: 1, idle: 0, busy: 2, draining: 0 },
  waiting: { interactive: 4, batch: 200 },
  cold_start_s: 18,
  service_s: 4.2,
  reason: "2 -> 3: expected wait 41 s > target 10 s",
  warm: null,
  decisions: [],
  ...more,
});

describe("scaling", () => {
  it("shows what is there, what is wanted and why", async () => {
    const { server, result } = await shown(["scaling", "a", "--limit", "5"], json(200, scaling()));
    expect(server.seen[0]?.url).toBe("/v1/endpoints/a/scaling?limit=5");
    expect(result.stdout).toContain("3 of 3 wanted (floor 1, ceiling 10): 2 busy, 0 idle, 1 starting, 0 draining");
    expect(result.stdout).toContain("4 interactive, 200 batch");
    expect(result.stdout).toContain("predictive; a start takes 18.0 s, a job 4.2 s");
    expect(result.stdout).toContain("2 -> 3: expected wait 41 s > target 10 s");
    expect(result.stdout).not.toContain("DECIDED");
  });

  it("plots what was decided, the newest last, and lists it, the newest first", async () => {
    const decisions = [
      { at: hourAgo(1), from: 2, to: 0, reason: "idle" },
      { at: hourAgo(2), from: 0, to: 2, reason: "two wait" },
    ];
    const { result } = await shown(["scaling", "a"], json(200, scaling({ decisions, reason: "" })));
    const lines = result.stdout.split("\n");
    const plot = lines.filter((line) => /^ +[0-9]+ \|/.test(line));
    // Two hours over 60 columns: two replicas in the first half, none in the second.
    expect(plot.map((line) => line.trim())).toEqual([`2 |${"#".repeat(30)}`, `1 |${"#".repeat(30)}`]);
    expect(lines.findIndex((line) => line.includes("2 -> 0"))).toBeLessThan(
      lines.findIndex((line) => line.includes("0 -> 2")),
    );
    expect(result.stdout).toContain("nothing has been decided yet");
    expect(result.stdout).toMatch(/120 min 0 s ago +now/);
  });
});

describe("warm and cool", () => {
  it("send how many and for how long", async () => {
    const warm = { replicas: 2, until: "2026-11-21T12:00:00.000Z" };
    const { server, result } = await shown(
      ["warm", "a", "--replicas", "2", "--for", "2h"],
      json(200, scaling({ warm })),
    );
    expect([server.seen[0]?.method, server.seen[0]?.url]).toEqual(["POST", "/v1/endpoints/a/warm"]);
    expect(bodyOf(server, 0)).toEqual({ replicas: 2, for_s: 7_200 });
    expect(result.stdout).toContain("2 by hand until 2026-11-21T12:00:00.000Z");
  });

  it("keep one for an hour unless told otherwise, and end it", async () => {
    const first = await shown(["warm", "a"], json(200, scaling()));
    expect(bodyOf(first.server, 0)).toEqual({ replicas: 1, for_s: 3_600 });
    const second = await shown(["cool", "a"], json(200, scaling()));
    expect([second.server.seen[0]?.method, second.result.code]).toEqual(["DELETE", 0]);
  });

  it("send until when", async () => {
    const { server } = await shown(["warm", "a", "--until", "2026-11-21T18:00:00+01:00"], json(200, scaling()));
    expect(bodyOf(server, 0)).toEqual({ replicas: 1, until: "2026-11-21T17:00:00.000Z" });
  });

  it.each([
    ["--until", "tomorrow"],
    ["--until", "2026-11-21T18:00:00Z", "--for", "1h"],
  ])("refuse %s %s", async (...options) => {
    const { server, result } = await shown(["warm", "a", ...options], json(200, scaling()));
    expect([result.code, server.seen.length]).toEqual([2, 0]);
  });

  it.each([["2 hours"], ["8d"], ["0s"], ["-1h"]])("refuse --for %s", async (time) => {
    const { server, result } = await shown(["warm", "a", `--for=${time}`], json(200, scaling()));
    expect([result.code, server.seen.length]).toEqual([2, 0]);
  });
});

describe("endpoints set", () => {
  it("changes how replicas are scaled", async () => {
    const { server } = await shown(
      [
        ...["endpoints", "set", "a", "--policy", "queue_delay", "--queue-delay", "2.5", "--wait-value", "0.5"],
        ...["--target-p95", "none", "--idle-timeout", "auto", "--jobs-per-replica", "3", "--batch-wait", "60"],
        ...["--warm", "mon-fri 08:00-18:00 Europe/Berlin 2", "--warm", "sat,sun 22:00-04:00 1"],
      ],
      json(200, exampleEndpoint()),
    );
    expect(bodyOf(server, 0)).toEqual({
      settings: {
        policy: "queue_delay",
        queue_delay_s: 2.5,
        wait_value: 0.5,
        target_p95_wait_s: null,
        idle_timeout_s: null,
        jobs_per_replica: 3,
        batch_target_wait_s: 60,
        warm_schedule: [
          {
            days: ["mon", "tue", "wed", "thu", "fri"],
            from: "08:00",
            to: "18:00",
            time_zone: "Europe/Berlin",
            replicas: 2,
          },
          { days: ["sat", "sun"], from: "22:00", to: "04:00", time_zone: "UTC", replicas: 1 },
        ],
      },
    });
  });

  it("empties the schedule", async () => {
    const { server } = await shown(["endpoints", "set", "a", "--warm", "none"], json(200, exampleEndpoint()));
    expect(bodyOf(server, 0)).toEqual({ settings: { warm_schedule: [] } });
  });

  it("sets pods, by name, for one lane or both", async () => {
    const pod = (id: string, name: string) => ({
      ...{ id, name, description: "", gpu_types: [], containers_max: null, regions: [], min_replicas: 0 },
      ...{ idle_timeout_s: null, prices: {}, created_at: hourAgo(1), updated_at: hourAgo(1) },
    });
    const [rack, cloud] = [`pod_${"1".repeat(26)}`, `pod_${"2".repeat(26)}`];
    const pods = json(200, { data: [pod(rack, "rack"), pod(cloud, "cloud")] });
    const { server, result } = await shown(
      ["endpoints", "set", "a", "--pod", "rack", "--pod", "cloud:batch"],
      pods,
      pods,
      json(200, exampleEndpoint()),
    );
    expect(bodyOf(server, 2)).toEqual({
      pods: [
        { pod_id: rack, lanes: ["interactive", "batch"] },
        { pod_id: cloud, lanes: ["batch"] },
      ],
    });
    expect(result.stdout).toContain("pods = pod_");
  });

  it.each([
    [["--policy", "magic"]],
    [["--wait-value", "much"]],
    [["--wait-value", ""]],
    [["--target-p95", "0"]],
    [["--warm", "always"]],
    [["--warm", "mon 08:00-25:00 1"]],
    [["--warm", "mon 08:00-09:00 UTC extra 1"]],
    [["--warm", "monday 08:00-09:00 1"]],
    [["--pod", "rack:fast"]],
  ])("refuses %j", async (options) => {
    const { server, result } = await shown(["endpoints", "set", "a", ...options], json(200, exampleEndpoint()));
    expect([result.code, server.seen.length]).toEqual([2, 0]);
  });
});

describe("a part of the week", () => {
  it("goes round the end of the week", () => {
    expect(warmWindowOf("fri-mon 00:00-24:00 1").days).toEqual(["fri", "sat", "sun", "mon"]);
    expect(warmWindowOf("daily 00:00-24:00 1").days).toHaveLength(7);
    expect(warmWindowOf("wed 00:00-24:00 1").days).toEqual(["wed"]);
  });
});
