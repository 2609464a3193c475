import { describe, expect, it } from "vitest";
import { thousandJobs } from "#bench/thousand-jobs";

describe("fifty jobs one after the other", () => {
  it("all succeed, each with exactly the file that ComfyUI wrote for it", async () => {
    const result = await thousandJobs(50, () => {});
    expect(result).toMatchObject({ jobs: 50, succeeded: 50, wrong: [], shared: [] });
  });
});
