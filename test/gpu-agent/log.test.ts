import { expect, it } from "vitest";
import { createLog, messageOf, withFields } from "#gpu-agent/log";

function stream(isTTY: boolean) {
  const written: string[] = [];
  return { written, isTTY, write: (text: string) => written.push(text) };
}

it("writes one JSON line per event for machines", () => {
  const target = stream(false);
  withFields(
    createLog(target, () => 0),
    { jobId: "job_1" },
  )("job_ended", { outcome: "succeeded" });
  expect(target.written).toEqual([
    '{"time":"1970-01-01T00:00:00.000Z","event":"job_ended","jobId":"job_1","outcome":"succeeded"}\n',
  ]);
});

it("writes short text on a terminal", () => {
  const target = stream(true);
  createLog(target, () => 0)("job_ended", { outcome: "succeeded", error: undefined });
  expect(target.written).toEqual(["00:00:00 job_ended outcome=succeeded\n"]);
});

it("shows an error with its cause on one line", () => {
  expect(messageOf(new Error("fetch\nfailed", { cause: new Error("ECONNREFUSED") }))).toBe(
    "fetch failed: ECONNREFUSED",
  );
  expect(messageOf("text")).toBe("text");
});
