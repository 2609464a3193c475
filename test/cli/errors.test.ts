import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CliError, cliErrors, ExitCode, exitCodeOf, shownError } from "#cli/errors";
import { PilotlightError } from "#client/pilotlight-error";
import { problems } from "#contract/problems";

const CLI = join(import.meta.dirname, "../../cli");
const sources = readdirSync(CLI, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && path !== "errors.ts")
  .map((path) => readFileSync(join(CLI, path), "utf8"));
const raised = new Set(
  sources.flatMap((text) => [...text.matchAll(/new CliError\(\s*"([a-z_]+)"/g)].map((match) => match[1] ?? "")),
);

describe("the registry of the command line's errors", () => {
  it("lists every code that is raised", () => {
    expect([...raised].filter((code) => !(code in cliErrors))).toEqual([]);
  });

  it("lists no code that is never raised", () => {
    // `internal` is what everything else becomes.
    expect(Object.keys(cliErrors).filter((code) => code !== "internal" && !raised.has(code))).toEqual([]);
  });

  it("does not take a code of the service for its own, but for what both mean alike", () => {
    const both = Object.keys(cliErrors).filter((code) => code in problems);
    expect(both).toEqual(["release_failed", "internal"]);
  });
});

describe("exit codes", () => {
  it.each([
    ["unauthenticated", 401, 4],
    ["missing_scope", 403, 4],
    ["job_not_found", 404, 5],
    ["output_expired", 410, 5],
    ["budget_exceeded", 402, 7],
    ["queue_full", 429, 7],
    ["queue_paused", 503, 7],
    ["unavailable", 503, 8],
    ["invalid_inputs", 422, 1],
    ["slug_taken", 409, 1],
    ["internal", 500, 1],
    ["network_error", 0, 8],
    ["wait_timeout", 200, 6],
  ])("%s (%i) is %i", (code, status, expected) => {
    expect(exitCodeOf({ code, status })).toBe(expected);
  });

  it("cover every problem of the contract", () => {
    for (const [code, { status }] of Object.entries(problems)) {
      expect(Object.values(ExitCode), code).toContain(exitCodeOf({ code, status }));
    }
  });
});

describe("an error as it is shown", () => {
  it("has the hint of its code unless it has its own", () => {
    expect(shownError(new CliError("unknown_command", "no")).hint).toBe(cliErrors.unknown_command.hint);
    expect(shownError(new CliError("unknown_command", "no", "try this"))).toMatchObject({
      hint: "try this",
      exitCode: 2,
    });
  });

  it("says what to do about a queue that takes no job", () => {
    const hintOf = (code: string, detail = "no") => shownError(new PilotlightError({ code, status: 503, detail })).hint;
    expect(hintOf("queue_paused")).toContain("queue resume");
    expect(hintOf("queue_full")).toContain("--queue-depth");
    expect(hintOf("wait_timeout", "batch_1 has ended 3 of 5 jobs")).toContain("batch get");
    expect(hintOf("wait_timeout", "job_1 is still running")).toContain("jobs watch");
  });

  it("carries the service's wrong fields and request id", () => {
    const error = new PilotlightError({
      code: "invalid_inputs",
      status: 422,
      detail: "One is wrong.",
      errors: [{ path: "/inputs/a", reason: "no" }],
      requestId: "req_1",
    });
    expect(shownError(error)).toMatchObject({ errors: [{ path: "/inputs/a" }], requestId: "req_1", exitCode: 1 });
  });

  it("never shows a stack", () => {
    expect(JSON.stringify(shownError(new TypeError("surprise")))).not.toContain("at ");
  });
});
