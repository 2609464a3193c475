import { describe, expect, it } from "vitest";
import { JobId } from "#contract/ids";
import { arrivalsFromJobs, type PastAttempt, type PastJob } from "#durable-objects/autoscaler/replay/job-history";

const idOf = (number: number) => JobId.parse(`job_${String(number).padStart(26, "0")}`);
const job = (number: number, changes: Partial<PastJob> = {}): PastJob => ({
  id: idOf(number),
  created_at: "2026-11-21T10:00:00.000Z",
  finished_at: "2026-11-21T10:00:50.000Z",
  lane: "interactive",
  ...changes,
});
const attempt = (number: number, ms: number): PastAttempt => ({ job_id: idOf(number), ms });

describe("past jobs as arrivals", () => {
  it("are those that ran, by the time they were submitted, the first one at 0", () => {
    const history = arrivalsFromJobs(
      [
        job(1, { created_at: "2026-11-21T10:00:01.500Z", lane: "batch" }),
        job(2),
        job(3, { finished_at: null }),
        job(4),
      ],
      [attempt(1, 10_000), attempt(2, 10_000), attempt(3, 10_000)],
    );
    expect(history).toEqual({
      arrivals: [
        { t: 0, serviceS: 10, lane: "interactive" },
        { t: 1.5, serviceS: 10, lane: "batch" },
      ],
      firstAt: "2026-11-21T10:00:00.000Z",
      skipped: 2,
    });
    expect(arrivalsFromJobs([], [])).toEqual({ arrivals: [], firstAt: null, skipped: 0 });
  });

  it("take as long as usage says that all their attempts held a replica", () => {
    const { arrivals } = arrivalsFromJobs([job(1), job(2)], [attempt(1, 4_100), attempt(2, 7), attempt(1, 5_900)]);
    expect(arrivals.map(({ serviceS }) => serviceS)).toEqual([10, 0.007]);
  });
});
