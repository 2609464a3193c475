import { describe, expect, it } from "vitest";
import { runCapacity } from "./capacity.ts";

const RUN_MS_MAX = 300_000;

describe("capacity", () => {
  it(
    "is counted right again, and no slot is lost, when the server dies while a replica starts",
    async () => {
      const said: string[] = [];
      const cases = [{ fault: "server", phase: "booting" }] as const;
      const outcomes = await runCapacity(cases, (line) => said.push(line));
      expect(
        outcomes.map(({ fault, phase, wrong }) => ({ fault, phase, wrong })),
        said.join("\n"),
      ).toEqual(cases.map((each) => ({ ...each, wrong: [] })));
      for (const { rightAfterMs } of outcomes) expect(rightAfterMs).toBeLessThan(Number.POSITIVE_INFINITY);
    },
    RUN_MS_MAX,
  );
});
