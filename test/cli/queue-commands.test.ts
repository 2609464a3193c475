import { describe, expect, it } from "vitest";
import { type CommandLineResult, runHere } from "#test/cli/command-line";
import { EXAMPLE_JOB_ID, exampleJob } from "#test/client/example-job";
import {
  exampleEndpoint,
  exampleEntry,
  exampleOperation,
  exampleQueue,
  exampleUsage,
} from "#test/client/example-queue";
import { type Answer, json, problem, type ScriptedServer, scriptedServer } from "#test/client/scripted-server";

const envelope = (result: CommandLineResult) =>
  JSON.parse(result.stdout) as { ok: boolean; data: Record<string, unknown>; error: Record<string, unknown> };
const env = (server: ScriptedServer) => ({
  PILOTLIGHT_TOKEN: "pl_x",
  PILOTLIGHT_API_URL: server.url,
  PILOTLIGHT_RETRY_S: "0",
});
const bodyOf = (server: ScriptedServer, index: number) => JSON.parse(server.seen[index]?.body ?? "null") as unknown;

/** Runs a command against these answers, as on a terminal. */
async function shown(argv: string[], answer?: string | undefined, ...answers: Answer[]) {
  const server = await scriptedServer(...answers);
  const more = answer === undefined ? {} : { answer };
  return { server, result: await runHere(argv, { env: env(server), isTerminal: true, ...more }) };
}

describe("queue stats", () => {
  it("shows pause, dead letters, the time until a start, and throughput", async () => {
    const paused = { since: "2026-11-21T10:00:00.000Z", reason: "a new driver", refuse_new: true };
    const { result } = await shown(["queue", "stats", "a"], undefined, json(200, exampleQueue({ paused })));
    expect(result.code).toBe(0);
    expect(result.stdout).toMatch(/^PAUSED +since 2026-11-21T10:00:00.000Z: a new driver; new jobs are refused/);
    expect(result.stdout).toContain("4 interactive, 30 batch, 1 of them between two tries; the oldest waits 1 min 1 s");
    expect(result.stdout).toContain("a new job would start in 42.0 s");
    expect(result.stdout).toContain("12 arrived, 8 ended");
    expect(result.stdout).toContain("dead      5");
  });
});

describe("queue ls", () => {
  it("lists places, and asks for a lane and a page", async () => {
    const page = { data: [exampleEntry(1), exampleEntry(2)], next_cursor: "c2" };
    const { server, result } = await shown(
      ["queue", "ls", "a", "--lane", "batch", "--limit", "2", "--cursor", "c1"],
      undefined,
      json(200, page),
    );
    expect(server.seen[0]?.url).toBe("/v1/endpoints/a/queue/jobs?lane=batch&limit=2&cursor=c1");
    expect(result.stdout).toMatch(/^# +JOB .*\n1 +job_/);
    expect(result.stdout).toContain("More: --cursor c2");
  });
});

describe("queue pause and resume", () => {
  it("send what they are told", async () => {
    const { server } = await shown(
      ["queue", "pause", "a", "--reason", "a new driver", "--refuse-new"],
      undefined,
      json(200, exampleQueue()),
    );
    expect(bodyOf(server, 0)).toEqual({ reason: "a new driver", refuse_new: true });
    const resumed = await shown(["queue", "resume", "a"], undefined, json(200, exampleQueue()));
    expect(resumed.server.seen[0]).toMatchObject({ method: "POST", url: "/v1/endpoints/a/queue/resume", body: "" });
  });
});

describe("queue purge", () => {
  const answers = [json(200, exampleEndpoint()), json(202, exampleOperation({ kind: "purge" }))];
  const operation = json(200, exampleOperation({ kind: "purge", changed: 34, looked_at: 34, skipped: 0 }));

  it("goes on when the name is typed", async () => {
    const { server, result } = await shown(
      ["queue", "purge", "a", "--tag", "x"],
      "text-to-image",
      ...answers,
      operation,
    );
    expect(result.stderr).toContain("Type its name");
    expect(bodyOf(server, 1)).toEqual({ confirm: "text-to-image", state: "queued", tag: "x" });
    expect(result.stdout).toContain("purged 34 of 34 jobs.");
  });

  it("does nothing when another name is typed, or nobody can be asked", async () => {
    const other = await shown(["queue", "purge", "a"], "a", ...answers);
    expect([other.result.code, other.server.seen.length]).toEqual([130, 1]);
    const nobody = await shown(["queue", "purge", "a"], undefined, ...answers);
    expect([nobody.result.code, nobody.server.seen.length]).toEqual([2, 1]);
    expect(nobody.result.stderr).toContain("--yes");
  });

  it("does not ask with --yes", async () => {
    const { server, result } = await shown(
      ["queue", "purge", "a", "--state", "dead", "--yes"],
      undefined,
      ...answers,
      operation,
    );
    expect(result.code).toBe(0);
    expect(bodyOf(server, 1)).toEqual({ confirm: "text-to-image", state: "dead" });
  });

  it("refuses a state that is none", async () => {
    const { server, result } = await shown(
      ["queue", "purge", "a", "--state", "running", "--yes"],
      undefined,
      ...answers,
    );
    expect([result.code, server.seen.length]).toEqual([2, 0]);
  });
});

describe("endpoints rm", () => {
  const found = json(200, exampleEndpoint());
  const remove = ["endpoints", "rm", "a"];

  it("deletes when the name is typed, or with --yes", async () => {
    for (const [argv, answer] of [
      [remove, "text-to-image"],
      [[...remove, "--yes"], undefined],
    ] as const) {
      const { server, result } = await shown([...argv], answer, found, (_request, response) => {
        response.writeHead(204).end();
      });
      expect(result.code).toBe(0);
      expect(server.seen[1]).toMatchObject({ method: "DELETE", url: "/v1/endpoints/a" });
    }
  });

  it("does nothing when another name is typed, or nobody can be asked", async () => {
    const other = await shown(remove, "a", found);
    expect([other.result.code, other.server.seen.length]).toEqual([130, 1]);
    const nobody = await shown(remove, undefined, found);
    expect([nobody.result.code, nobody.server.seen.length]).toEqual([2, 1]);
    expect(nobody.result.stderr).toContain("--yes");
  });
});

describe("queue bump", () => {
  it.each([
    [[], { position: "front" }],
    [["--priority", "9"], { priority: 9 }],
    [["--lane", "interactive"], { lane: "interactive" }],
  ])("with %j sends %j", async (options, body) => {
    const { server, result } = await shown(
      ["queue", "bump", EXAMPLE_JOB_ID, ...options],
      undefined,
      json(200, exampleJob()),
    );
    expect(server.seen[0]).toMatchObject({ method: "PATCH", url: `/v1/jobs/${EXAMPLE_JOB_ID}` });
    expect(bodyOf(server, 0)).toEqual(body);
    expect(result.stdout).toContain("is #1, interactive, priority 5.");
  });
});

describe("why", () => {
  const why = {
    job_id: EXAMPLE_JOB_ID,
    state: "queued",
    phase: "waiting",
    position: 4,
    eta_ms: null,
    reasons: [{ code: "no_node_online", detail: "No machine is online.", until: null }],
    summary: "It waits because no machine is online.",
  };
  it.each([["jobs"], ["queue"]])("as `%s why` says it in a sentence, and the reasons", async (family) => {
    const { server, result } = await shown([family, "why", EXAMPLE_JOB_ID], undefined, json(200, why));
    expect(server.seen[0]?.url).toBe(`/v1/jobs/${EXAMPLE_JOB_ID}/why`);
    expect(result.stdout).toBe("It waits because no machine is online.\n  No machine is online. (no_node_online)\n");
  });

  it("says a reason once when the sentence is that reason", async () => {
    const until = "2026-11-21T10:00:00.000Z";
    const reasons = [
      { code: "paused", detail: "The queue is paused.", until: null },
      { code: "retry_backoff", detail: "It waits for its next try.", until },
    ];
    const summary = "The queue is paused. (and 1 more)";
    const { result } = await shown(["jobs", "why", EXAMPLE_JOB_ID], undefined, json(200, { ...why, reasons, summary }));
    expect(result.stdout).toBe(
      `The queue is paused. (paused)\nIt waits for its next try. (retry_backoff, until ${until})\n`,
    );
  });
});

describe("webhooks recover", () => {
  it("takes a time as the other commands do", async () => {
    const recovered = json(200, { recovered: 1 });
    const before = Date.now();
    const { server, result } = await shown(["webhooks", "recover", "default", "--since", "2h"], undefined, recovered);
    const { since } = bodyOf(server, 0) as { since: string };
    expect(Date.parse(since)).toBeGreaterThanOrEqual(before - 7_200_000);
    expect(Date.parse(since)).toBeLessThanOrEqual(Date.now() - 7_200_000);
    expect(result.stdout).toBe("1 message is sent again.\n");
    for (const wrong of [[], ["--since", "later"]]) {
      expect((await shown(["webhooks", "recover", "default", ...wrong])).result.code).toBe(2);
    }
  });
});

describe("dead letters", () => {
  it("are listed with their errors", async () => {
    const dead = exampleJob({ state: "failed", phase: null, error: { code: "out_of_memory", message: "x" } });
    const { result } = await shown(["queue", "dead", "a"], undefined, json(200, { data: [dead], next_cursor: null }));
    expect(result.stdout).toContain("out_of_memory");
  });

  it.each([
    [["--all"], { all: true }],
    [["--job", EXAMPLE_JOB_ID], { jobs: [EXAMPLE_JOB_ID] }],
    [["--since", "2026-11-21"], { since: "2026-11-21T00:00:00.000Z" }],
  ])("are redriven with %j", async (options, body) => {
    const done = exampleOperation({ kind: "redrive", created_jobs: [EXAMPLE_JOB_ID] });
    const { server, result } = await shown(
      ["queue", "redrive", "a", ...options],
      undefined,
      json(202, done),
      json(200, done),
    );
    expect(bodyOf(server, 0)).toEqual(body);
    expect(result.stdout).toContain(`ran again 3 of 5 jobs; 2 had moved on`);
    expect(result.stdout).toContain(EXAMPLE_JOB_ID);
  });

  it.each([[[]], [["--all", "--since", "1h"]], [["--job", "job_1"]], [["--since", "soon"]]])(
    "are not redriven with %j",
    async (options) => {
      const { server, result } = await shown(
        ["queue", "redrive", "a", ...options],
        undefined,
        json(202, exampleOperation()),
      );
      expect([result.code, server.seen.length]).toEqual([2, 0]);
    },
  );
});

describe("jobs ls", () => {
  it("goes on to the first page that holds a job", async () => {
    const { server, result } = await shown(
      ["jobs", "ls", "--tag", "rare"],
      undefined,
      json(200, { data: [], next_cursor: "c1" }),
      json(200, { data: [exampleJob()], next_cursor: "c2" }),
    );
    expect(server.seen.map(({ url }) => url)).toEqual(["/v1/jobs?tag=rare", "/v1/jobs?tag=rare&cursor=c1"]);
    expect(result.stdout).toContain(EXAMPLE_JOB_ID);
    expect(result.stdout).toContain("More: --cursor c2");
  });

  it("passes every filter on, times as ISO", async () => {
    const before = Date.now();
    const { server } = await shown(
      [
        ...["jobs", "ls", "--endpoint", "a", "--state", "failed", "--lane", "batch", "--tag", "x"],
        ...["--key", "key_0dpx4n3m8k7q2wz6tgr1vyc5hc", "--batch", "batch_0dpx4n3m8k7q2wz6tgr1vyc5ha"],
        ...["--error", "out_of_memory", "--since", "2d", "--until", "2026-11-21T12:00:00+02:00"],
      ],
      undefined,
      json(200, { data: [], next_cursor: null }),
    );
    const query = Object.fromEntries(new URL(`http://x${server.seen[0]?.url}`).searchParams);
    const { created_after, ...others } = query;
    expect(others).toEqual({
      endpoint: "a",
      state: "failed",
      lane: "batch",
      tag: "x",
      key_id: "key_0dpx4n3m8k7q2wz6tgr1vyc5hc",
      batch: "batch_0dpx4n3m8k7q2wz6tgr1vyc5ha",
      error_code: "out_of_memory",
      created_before: "2026-11-21T10:00:00.000Z",
    });
    const ageMs = before - Date.parse(created_after ?? "");
    expect(Math.abs(ageMs - 2 * 86_400_000)).toBeLessThan(60_000);
  });

  it.each([
    ["--since", "yesterday"],
    ["--lane", "fast"],
    ["--key", "key_1"],
    ["--error", "bad_luck"],
  ])("refuses %s %s", async (option, value) => {
    const result = await runHere(["jobs", "ls", option, value], { env: { PILOTLIGHT_TOKEN: "x" } });
    expect(result.code).toBe(2);
    expect(envelope(result).error.message).toContain(option);
  });
});

describe("jobs cancel and retry", () => {
  it("take one job", async () => {
    const { result } = await shown(
      ["jobs", "cancel", EXAMPLE_JOB_ID],
      undefined,
      json(200, exampleJob({ state: "canceled" })),
    );
    expect(result.stdout).toBe(`${EXAMPLE_JOB_ID} is canceled.\n`);
    const retried = await shown(
      ["jobs", "retry", EXAMPLE_JOB_ID, "--idempotency-key", "k"],
      undefined,
      json(202, exampleJob({ retry_of: EXAMPLE_JOB_ID })),
    );
    expect(retried.server.seen[0]).toMatchObject({ url: `/v1/jobs/${EXAMPLE_JOB_ID}/retry` });
    expect(retried.server.seen[0]?.headers["idempotency-key"]).toBe("k");
  });

  it("take all that fit, and show how far they are", async () => {
    const running = exampleOperation({ state: "running", progress: 0.5, finished_at: null });
    const { server, result } = await shown(
      ["jobs", "cancel", "--endpoint", "a", "--state", "queued", "--tag", "x", "--progress", "plain"],
      undefined,
      json(202, running),
      json(200, running),
      json(200, exampleOperation()),
    );
    expect(server.seen[0]).toMatchObject({ method: "POST", url: "/v1/endpoints/a/operations" });
    expect(bodyOf(server, 0)).toEqual({ action: "cancel", selection: { state: "queued", tag: "x" } });
    expect(result.stderr).toMatch(/cancel █+ +50 %, 3 jobs/);
    expect(result.stdout).toContain("canceled 3 of 5 jobs");
  });

  it.each([[["--endpoint", "a"]], [["--state", "failed"]], [[]], [[EXAMPLE_JOB_ID, "--tag", "x"]]])(
    "do nothing with %j",
    async (words) => {
      const { server, result } = await shown(["jobs", "retry", ...words], undefined, json(202, exampleOperation()));
      expect([result.code, server.seen.length]).toEqual([2, 0]);
    },
  );

  it("stop the operation at Ctrl-C", async () => {
    const interrupt = new AbortController();
    const running = exampleOperation({ state: "running", finished_at: null });
    const server = await scriptedServer(
      json(202, running),
      (_, response) => {
        interrupt.abort();
        response.destroy();
      },
      json(200, exampleOperation({ state: "canceled" })),
    );
    const result = await runHere(["jobs", "cancel", "--endpoint", "a", "--tag", "x"], {
      env: env(server),
      signal: interrupt.signal,
    });
    expect(result.code).toBe(130);
    expect(server.seen.at(-1)).toMatchObject({ method: "POST", url: `/v1/operations/${String(running.id)}/cancel` });
    expect(envelope(result).error.message).toContain("then stopped");
  });

  it("pass a refusal on", async () => {
    const { result } = await shown(
      ["jobs", "retry", EXAMPLE_JOB_ID],
      undefined,
      problem(409, "job_not_finished", false),
    );
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("job_not_finished");
  });
});

describe("usage", () => {
  it("shows attempts and their sum, one page or all", async () => {
    const pages = [
      json(200, { data: [exampleUsage()], next_cursor: "c1" }),
      json(200, { data: [exampleUsage({ ms: 500 })], next_cursor: null }),
    ];
    const one = await shown(["usage", "--endpoint", "a", "--since", "2026-11-21"], undefined, ...pages);
    expect(one.server.seen.map(({ url }) => url)).toEqual(["/v1/usage?endpoint=a&since=2026-11-21T00%3A00%3A00.000Z"]);
    expect(one.result.stdout).toContain("More: --cursor c1, or --all");
    const all = await shown(["usage", "--all"], undefined, ...pages);
    expect(all.server.seen).toHaveLength(2);
    expect(all.result.stdout).toContain("2 attempts, 2.0 s of GPU time");
  });
});

describe("deploy", () => {
  it("sets the endpoint's bounds", async () => {
    const server = await scriptedServer(json(201, exampleEndpoint()));
    const bounds = [
      "--starts-per-minute",
      "30",
      "--gpu-seconds-per-day",
      "3600",
      "--region",
      "home",
      "--queue-depth",
      "9",
    ];
    const result = await runHere(["deploy", "-", "--slug", "a", ...bounds], { env: env(server), stdin: "{}" });
    expect(result.code).toBe(0);
    expect(bodyOf(server, 0)).toEqual({
      slug: "a",
      workflow: "{}",
      settings: {
        queue_depth_max: 9,
        starts_per_minute_max: 30,
        gpu_seconds_per_day_max: 3_600,
        regions: ["home"],
      },
    });
  });
});

describe("endpoints set", () => {
  it("changes settings, and lifts bounds", async () => {
    const { server, result } = await shown(
      [
        ...["endpoints", "set", "a", "--starts-per-minute", "30", "--gpu-seconds-per-day", "none"],
        ...["--queue-depth", "500", "--region", "home", "--region", "rack-2"],
      ],
      undefined,
      json(200, exampleEndpoint()),
    );
    expect(bodyOf(server, 0)).toEqual({
      settings: {
        starts_per_minute_max: 30,
        gpu_seconds_per_day_max: null,
        queue_depth_max: 500,
        regions: ["home", "rack-2"],
      },
    });
    expect(result.stdout).toContain("gpu_seconds_per_day_max = no bound");
  });

  it.each([[[]], [["--region", "Home!"]], [["--starts-per-minute", "0"]], [["--queue-depth", "none"]]])(
    "refuses %j",
    async (options) => {
      const { server, result } = await shown(
        ["endpoints", "set", "a", ...options],
        undefined,
        json(200, exampleEndpoint()),
      );
      expect([result.code, server.seen.length]).toEqual([2, 0]);
    },
  );
});
