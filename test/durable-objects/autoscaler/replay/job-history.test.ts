import { describe, expect, it } from "vitest";
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
