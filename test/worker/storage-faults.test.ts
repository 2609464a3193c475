import { describe, expect, it } from "vitest";
import { errorAnswer } from "#worker/http/error-handler";

const answerTo = (message: string) => errorAnswer(new Error(message), "req_1", "POST", "/v1/endpoints/x/jobs");

describe("storage that cannot be written", () => {
  it.each([
    ["a full disk, as SQLite says it", "database or disk is full: SQLITE_FULL"],
    ["a disk that fails", "disk I/O error: SQLITE_IOERR"],
    ["a database that fails for reasons of its own", "internal error; reference = 3ljgbehlfl0mh8a5kckr27r5"],
  ])("is a part that does not answer for now: %s", async (_, message) => {
    const answer = answerTo(message);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await answer.text()).not.toContain(message);
  });

  it("is not confused with a fault of ours", () => {
    expect(answerTo("UNIQUE constraint failed: SQLITE_CONSTRAINT").status).toBe(500);
  });
});
