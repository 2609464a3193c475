import { describe, expect, it } from "vitest";
import { ChaosUsageError, FULL_BAR, readOptions } from "./options.ts";
import { expectedOutputs, isSlow, PROMPT_MARK, planJobs } from "./workload.ts";

const read = (...argv: string[]) => readOptions(argv, () => 42);

describe("the options of a chaos run", () => {
  it("are the full bar for a thousand jobs, and never more", () => {
    expect(read()).toMatchObject({ jobs: 1_000, seed: 42, faults: FULL_BAR, fullDisk: true });
    expect(read("--jobs", "5000").faults).toEqual(FULL_BAR);
  });

  it("scale with the jobs, with at least one fault of each kind", () => {
    expect(read("--jobs", "100").faults).toEqual({ workerd: 2, agent: 2, standIn: 2, zombie: 2, cut: 1 });
    expect(Object.values(read("--jobs", "1").faults)).toEqual([1, 1, 1, 1, 1]);
  });

  it("may name each count", () => {
    expect(read("--jobs", "40", "--zombies", "0", "--kills-workerd", "9").faults).toMatchObject({
      zombie: 0,
      workerd: 9,
    });
  });

  it.each([["--jobs", "many"], ["--jobs", "0"], ["--mercy"]])("are refused: %s %s", (...argv) => {
    expect(() => read(...argv)).toThrow(ChaosUsageError);
  });
});

describe("the jobs of a chaos run", () => {
  it("are the same for the same seed, and others for another", () => {
    expect(planJobs(200, 7)).toEqual(planJobs(200, 7));
    expect(planJobs(200, 7)).not.toEqual(planJobs(200, 8));
  });

  it("have a colour, a key and a prompt each of their own", () => {
    const jobs = planJobs(2_000, 1);
    for (const field of ["color", "idempotencyKey", "prompt"] as const) {
      expect(new Set(jobs.map((job) => job[field])).size).toBe(jobs.length);
    }
    expect(jobs.every(({ prompt }) => prompt.startsWith(PROMPT_MARK))).toBe(true);
  });

  it("are of every kind, in both lanes, with files and without, slow and quick", () => {
    const jobs = planJobs(500, 2);
    expect(new Set(jobs.map(({ kind }) => kind)).size).toBe(5);
    expect(new Set(jobs.map(({ lane }) => lane)).size).toBe(2);
    expect(new Set(jobs.map(({ photo }) => photo === null)).size).toBe(2);
    expect(new Set(jobs.map(isSlow)).size).toBe(2);
    expect(jobs.some(({ repeats }) => repeats > 0)).toBe(true);
  });

  it("must leave a picture and a text, and the photo that went in", () => {
    const [job] = planJobs(1, 1);
    if (job === undefined) throw new Error("no job");
    const outputs = expectedOutputs(
      { ...job, photo: 3 },
      (color) => `picture ${color}`,
      (photo) => `photo ${photo}`,
    );
    expect(outputs).toMatchObject({ image: `picture ${job.color}`, image_2: "photo 3" });
    expect(outputs.text).toMatch(/^[0-9a-f]{64}$/);
  });
});
