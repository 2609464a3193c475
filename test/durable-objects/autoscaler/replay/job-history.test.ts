import { describe, expect, it } from "vitest";
import { parseTrace, TRACE_JOBS_MAX, TRACE_S_MAX } from "#durable-objects/autoscaler/replay/arrivals";
import { arrivalsFromJobs, type PastJob } from "#durable-objects/autoscaler/replay/job-history";

const stretch = (phase: string, ms: number | null, attempt = 1) => ({
  phase,
  attempt,
  started_at: "2026-11-21T10:00:00.000Z",
  ms,
});
const job = (changes: Partial<PastJob>): PastJob => ({
  created_at: "2026-11-21T10:00:00.000Z",
  started_at: "2026-11-21T10:00:40.000Z",
  finished_at: "2026-11-21T10:00:50.000Z",
  lane: "interactive",
  timeline: [],
  ...changes,
});

describe("past jobs as arrivals", () => {
  it("are those that ran, by the time they were submitted, the first one at 0", () => {
    const history = arrivalsFromJobs([
      job({ created_at: "2026-11-21T10:00:01.500Z", lane: "batch" }),
      job({}),
      job({ finished_at: null }),
      job({ started_at: null }),
    ]);
    expect(history).toEqual({
      arrivals: [
        { t: 0, serviceS: 10, lane: "interactive" },
        { t: 1.5, serviceS: 10, lane: "batch" },
      ],
      firstAt: "2026-11-21T10:00:00.000Z",
      skipped: 2,
    });
    expect(arrivalsFromJobs([])).toEqual({ arrivals: [], firstAt: null, skipped: 0 });
  });

  it("take as long as all attempts held a replica, waiting and starts left out", () => {
    const timeline = [
      stretch("waiting", 3_000, 0),
      stretch("booting", 30_000, 0),
      stretch("assigned", 100),
      stretch("executing", 4_000),
      stretch("retrying", 60_000),
      stretch("executing", 5_000, 2),
      stretch("uploading", 900, 2),
    ];
    expect(arrivalsFromJobs([job({ timeline })]).arrivals[0]?.serviceS).toBe(10);
  });
});

describe("a trace file", () => {
  it("may name lanes and endpoints, and may come from a spreadsheet", () => {
    const trace = parseTrace("\uFEFFt, service_s ,endpoint,lane\r\n1,2,sdxl,batch\r\n3,4,flux,interactive\r\n");
    expect([...trace]).toEqual([
      ["sdxl", [{ t: 1, serviceS: 2, lane: "batch" }]],
      ["flux", [{ t: 3, serviceS: 4, lane: "interactive" }]],
    ]);
  });

  it.each([
    ["time,service_s\n1,2", "line 1: the header must name the columns t and service_s"],
    ["t,service_s\n1,2\n1", 'line 3: service_s must be a number, 0 or more, not ""'],
    ["t,service_s\n-1,2", 'line 2: t must be a number, 0 or more, not "-1"'],
    ["t,service_s,lane\n1,2,slow", 'line 2: lane must be interactive or batch, not "slow"'],
    ["t,service_s,endpoint\n1,2,", "line 2: endpoint is empty"],
    ["t,service_s\n1e12,2", `line 2: t is 1000000000000 s, more than ${TRACE_S_MAX} s`],
    [`t,service_s${"\n".repeat(TRACE_JOBS_MAX + 5)}`, `it has more than ${TRACE_JOBS_MAX} jobs`],
  ])("is refused with the place and the reason, case %#", (text, expected) => {
    expect(() => parseTrace(text)).toThrow(expected);
  });
});
