import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ReplicaReport, type ReplicaReportAnswer } from "#contract/agent";
import { LOG_LINE_LENGTH_MAX, LOG_LINES_KEPT, LOG_LINES_PER_REPORT_MAX } from "#contract/limits";
import { amountOf, modelDoing } from "#gpu-agent/amounts";
import { redact } from "#gpu-agent/redact";
import { REPORT_EVERY_MS, ReplicaReporter, type Standing } from "#gpu-agent/replica-report";

/** A server that keeps the lines it gets by their numbers, and loses answers, or its memory, when it is told to. */
class Server {
  readonly reports: ReplicaReport[] = [];
  lines: string[] = [];
  /** The next answers that do not arrive, although the report has. */
  lost = 0;

  async send(report: ReplicaReport, signal: AbortSignal): Promise<ReplicaReportAnswer> {
    for (;;) {
      signal.throwIfAborted();
      this.reports.push(ReplicaReport.parse(report));
      const from = report.log_from ?? this.lines.length;
      if (report.log !== undefined && from <= this.lines.length) {
        this.lines.push(...report.log.slice(this.lines.length - from));
      }
      if (this.lost === 0) return { release: 1, stop: false, log_next: this.lines.length };
      this.lost -= 1;
    }
  }
}

let server: Server;
let standing: Standing;
let hurry: AbortController;
let reporter: ReplicaReporter;
let refused: unknown[];
let stops: boolean[];
beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
  standing = { state: "preparing", error: null, phases: [], build: undefined };
  hurry = new AbortController();
  refused = [];
  stops = [];
  reporter = new ReplicaReporter({
    send: (report, signal) => server.send(report, signal),
    standing: () => standing,
    redacted: (text) => redact(text, { "/home/me/state": "<agent>" }),
    onAnswer: ({ stop }) => void stops.push(stop),
    onRefused: (error) => void refused.push(error),
    hurry: hurry.signal,
    lastMs: 1_000,
  });
});
afterEach(() => {
  vi.useRealTimers();
});

const aWhile = () => vi.advanceTimersByTimeAsync(REPORT_EVERY_MS);

describe("what a replica reports", () => {
  it("goes out at once when it enters a state, once, and says what it is at", async () => {
    await reporter.now();
    await reporter.now();
    expect(server.reports).toEqual([{ state: "preparing", phases: [] }]);
    standing = { ...standing, state: "busy" };
    await reporter.now();
    expect(server.reports.at(-1)?.state).toBe("ready");
    standing = { ...standing, build: null };
    await reporter.now();
    expect(server.reports.at(-1)?.build).toBe(null);
    expect(stops).toEqual([false, false, false]);
  });

  it("goes out every other second while what it is at changes, however often that is", async () => {
    await reporter.now();
    for (let done = 1; done <= 50; done += 1) reporter.doing(`${done} of 50 MB of model.safetensors`);
    expect(server.reports).toHaveLength(1);
    await aWhile();
    expect(server.reports).toHaveLength(2);
    expect(server.reports.at(-1)?.doing).toBe("50 of 50 MB of model.safetensors");
    await aWhile();
    reporter.doing("50 of 50 MB of model.safetensors");
    await aWhile();
    expect(server.reports).toHaveLength(2);
    reporter.doing(null);
    await aWhile();
    expect(server.reports.at(-1)).toEqual({ state: "preparing", phases: [] });
  });

  it("holds each line once where answers were lost", async () => {
    reporter.line("one");
    server.lost = 1;
    await aWhile();
    reporter.line("two");
    await aWhile();
    expect(server.reports.length).toBeGreaterThan(2);
    expect(server.lines).toEqual(["one", "two"]);
  });

  it("brings the lines again to a server that has forgotten them", async () => {
    reporter.line("one");
    await aWhile();
    server.lines = [];
    reporter.line("two");
    await aWhile();
    await aWhile();
    expect(server.lines).toEqual(["one", "two"]);
  });

  it("keeps a bounded number of lines while the server is away, and says which are gone", async () => {
    const total = 3 * LOG_LINES_KEPT;
    for (let n = 0; n < total; n += 1) reporter.line(`line ${n}`);
    await aWhile();
    const [first] = server.reports;
    expect(first?.log).toHaveLength(LOG_LINES_PER_REPORT_MAX);
    const from = first?.log_from ?? 0;
    expect(from).toBeGreaterThan(total - LOG_LINES_KEPT - LOG_LINES_PER_REPORT_MAX);
    expect(from).toBeLessThanOrEqual(total - LOG_LINES_KEPT);
    expect(first?.log?.[0]).toBe(`line ${from}`);
  });

  it("ends with its last words, behind all lines", async () => {
    for (let n = 0; n < 250; n += 1) reporter.line(`line ${n}`);
    standing = { state: "crashed", error: "it broke", phases: [], build: undefined };
    await reporter.end();
    expect(server.lines).toHaveLength(250);
    expect(server.reports.map(({ state }) => state)).toEqual(["preparing", "preparing", "crashed"]);
    expect(server.reports.at(-1)?.error).toBe("it broke");
    reporter.line("late");
    await aWhile();
    expect(server.reports).toHaveLength(3);
  });

  it("does not hold up the end of a replica whose server is away", async () => {
    const never = vi
      .spyOn(server, "send")
      .mockImplementation(
        (_report, signal) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
      );
    void reporter.now();
    for (let n = 0; n < 250; n += 1) reporter.line(`line ${n}`);
    standing = { ...standing, state: "stopped" };
    const ended = reporter.end();
    await vi.advanceTimersByTimeAsync(10);
    vi.useRealTimers();
    await ended;
    expect(never.mock.calls.length).toBeLessThan(4);
    expect(refused).toEqual([]);
  });

  it("carries no secrets, no colours and no line of any length", async () => {
    reporter.line(
      "\u001b[31mfetching https://me:pw@host/x?sig=1 with hf_abcdefghijkl from /home/me/state/x\u001b[0m\r",
    );
    reporter.line("");
    reporter.line("x".repeat(5_000));
    reporter.doing("cloning https://me:pw@host/pack");
    await aWhile();
    expect(server.lines[0]).toBe("fetching https://[redacted]@host/x?[redacted] with [redacted] from <agent>/x");
    expect(server.lines[1]).toHaveLength(LOG_LINE_LENGTH_MAX);
    expect(server.lines).toHaveLength(2);
    expect(server.reports.at(-1)?.doing).toBe("cloning https://[redacted]@host/pack");
  });

  it("stops when the agent has to go, and tells of what was refused", async () => {
    vi.spyOn(server, "send").mockRejectedValueOnce(new Error("no such replica"));
    await reporter.now();
    expect(refused).toHaveLength(1);
    hurry.abort(new Error("the agent shuts down"));
    await reporter.now();
    expect(server.reports).toEqual([]);
    await reporter.end();
    expect(server.reports).toHaveLength(1);
  });
});

describe("amounts in words", () => {
  it.each([
    [3_100_000_000, 6_900_000_000, "3.1 of 6.9 GB"],
    [0, 6_900_000_000, "0 of 6.9 GB"],
    [69_000_000, 690_000_000, "69 of 690 MB"],
    [512, 2_048, "0.5 of 2.0 kB"],
    [7, 12, "7 of 12 bytes"],
  ])("%i of %i bytes is %s", (done, total, text) => {
    expect(amountOf(done, total)).toBe(text);
  });

  it("say how far a model is, and how fast it comes", () => {
    const progress = {
      phase: "downloading",
      bytesDone: 3_100_000_000,
      bytesTotal: 6_900_000_000,
      bytesPerSecond: 82_000_000,
      source: "host",
    } as const;
    expect(modelDoing("model.safetensors", progress)).toBe("3.1 of 6.9 GB of model.safetensors, 82 MB/s");
    expect(modelDoing("m", { ...progress, bytesPerSecond: 0 })).toBe("3.1 of 6.9 GB of m");
    expect(modelDoing("m", { ...progress, phase: "waiting" })).toContain("another process");
    expect(modelDoing("m", { ...progress, phase: "waiting", bytesDone: 0 })).toBe("waiting for m");
    expect(modelDoing("m", { ...progress, phase: "verifying" })).toBe("verifying m");
  });
});
