import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EndpointId, JobId } from "#contract/ids";
import type { UsageRow } from "#contract/usage";
import { type AskUsage, type UsagePlace, usagePage } from "#worker/jobs/usage-page";

const idOf = (number: number) => String(number).padStart(26, "0");

function row(job: number, attempt: number): UsageRow {
  return {
    job_id: JobId.parse(`job_${idOf(job)}`),
    attempt,
    ms: 1,
  } as UsageRow;
}

/** Objects with so many attempts for each of their jobs, which look at so many jobs at once. */
function objects(attempts: readonly (readonly number[])[], jobsLooked: number): { ids: EndpointId[]; ask: AskUsage } {
  const ids = attempts.map((_, index) => EndpointId.parse(`ep_${idOf(index)}`));
  const ask: AskUsage = async (id, after, limit) => {
    const index = ids.indexOf(id);
    const jobs = (attempts[index] ?? [])
      .map((count, job) => Array.from({ length: count }, (_, attempt) => row(index * 1_000 + job, attempt + 1)))
      .map((rows, job) => ({ id: JobId.parse(`job_${idOf(index * 1_000 + job)}`), rows }))
      .filter(({ id: job }) => after === null || job > after);
    const rows: UsageRow[] = [];
    for (const [place, job] of jobs.entries()) {
      rows.push(...job.rows);
      const isLast = place === jobs.length - 1;
      if (!isLast && (rows.length >= limit || place + 1 === jobsLooked)) return { rows, next: job.id };
    }
    return { rows, next: null };
  };
  return { ids, ask };
}

describe("the usage export", () => {
  it("holds every row once and in order, a job's rows on one page", async () => {
    const attempts = fc.array(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 12 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(
        attempts,
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 8 }),
        async (perEndpoint, limit, looked) => {
          const { ids, ask } = objects(perEndpoint, looked);
          const seen: UsageRow[] = [];
          let place: UsagePlace | undefined;
          for (let pages = 0; pages < 2_000; pages += 1) {
            const from = place?.endpointId;
            const left = ids.filter((id) => from === undefined || id >= from);
            const { rows, next } = await usagePage(left, place, limit, ask);
            const [first] = rows;
            const isOneJob = rows.every(({ job_id }) => job_id === first?.job_id);
            if (!isOneJob) expect(rows.length).toBeLessThanOrEqual(limit);
            expect(seen.some(({ job_id }) => rows.some((one) => one.job_id === job_id))).toBe(false);
            seen.push(...rows);
            if (next === null) break;
            place = next;
          }
          const wanted = perEndpoint.flatMap((jobs, index) =>
            jobs.flatMap((count, job) => Array.from({ length: count }, (_, at) => row(index * 1_000 + job, at + 1))),
          );
          expect(seen).toEqual(wanted);
        },
      ),
      { numRuns: 200 },
    );
  });
});
