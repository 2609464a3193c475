import { describe, expect, it } from "vitest";
import { commands } from "#cli/commands/all";
import { runHere } from "#test/cli/command-line";
import { exampleJob } from "#test/client/example-job";
import { json, problem, scriptedServer } from "#test/client/scripted-server";

const envelope = (stdout: string) => JSON.parse(stdout) as Record<string, unknown> & { error: Record<string, unknown> };

describe("the command line", () => {
  it("lists its commands when called with nothing, and for programs", async () => {
    const { code, stdout } = await runHere([], { isTerminal: true });
    expect(code).toBe(0);
    for (const { path } of commands) expect(stdout).toContain(`  ${path.join(" ")}`);
    const listed = envelope((await runHere(["help", "--json"])).stdout).data as { commands: unknown[] };
    expect(listed.commands).toHaveLength(commands.length);
  });

  it.each(commands.map((command) => [command.path.join(" "), command] as const))(
    "%s explains itself, examples first",
    async (name, command) => {
      const { code, stdout } = await runHere([...command.path, "--help", "--output", "text"]);
      expect(code).toBe(0);
      expect(stdout.startsWith(command.summary)).toBe(true);
      expect(stdout.indexOf(command.examples[0] ?? "?")).toBeGreaterThan(0);
      expect(stdout).toContain(`Usage: pilotlight ${name}`);
      for (const option of Object.keys(command.options)) expect(command.optionHelp[option], option).toBeTruthy();
    },
  );

  it.each([["jobs"], ["jobs", "--help"], ["help", "jobs"]])(
    "says what there is below a first word: %s",
    async (...argv) => {
      const { code, stdout } = await runHere(argv, { isTerminal: true });
      expect(code).toBe(0);
      expect(stdout).toContain("  jobs cancel ");
      expect(stdout).not.toContain("  deploy ");
    },
  );

  it.each([
    [["dpeloy", "x"], "unknown_command", "pilotlight deploy"],
    [["jobs", "lst"], "unknown_command", "pilotlight jobs ls"],
    [["run"], "usage", null],
    [["run", "a", "b"], "usage", null],
    [["run", "a", "--dettach"], "usage", "--detach"],
    [["jobs", "ls", "--limit", "0"], "usage", null],
    [["jobs", "ls", "--state", "happy"], "usage", null],
    [["jobs", "ls", "--output", "xml"], "usage", null],
    [["jobs", "ls", "--progress", "loud"], "usage", null],
  ])("refuses %j with exit code 2 and says what is wrong", async (argv, code, hint) => {
    const result = await runHere(argv);
    expect(result.code).toBe(2);
    const { ok, error } = envelope(result.stdout);
    expect(ok).toBe(false);
    expect(error.code).toBe(code);
    if (hint !== null) expect(error.hint).toContain(hint);
  });

  it.each([
    [["node", "ls"], "Usage: pilotlight nodes ls"],
    [["jobs", "ls"], "Usage: pilotlight jobs ls"],
    [["job", "ls"], "Usage: pilotlight jobs ls"],
    [["nodes", "join"], "Usage: pilotlight node join"],
  ])("takes a noun in either number: %j", async (argv, usage) => {
    const { code, stdout } = await runHere([...argv, "--help", "--output", "text"]);
    expect(code).toBe(0);
    expect(stdout).toContain(usage);
  });

  it.each([
    [["--output", "text", "jobs", "ls", "--help"]],
    [["--output=text", "--url", "http://127.0.0.1:1", "job", "ls", "-h"]],
    [["-h", "--output", "text", "jobs", "ls", "--limit", "1"]],
  ])("takes options of every command before it as well: %j", async (argv) => {
    const { code, stdout } = await runHere(argv);
    expect(code).toBe(0);
    expect(stdout).toContain("Usage: pilotlight jobs ls");
  });

  it("prints text on a terminal and errors beside it, without a stack", async () => {
    const { code, stdout, stderr } = await runHere(["jobs", "lst"], { isTerminal: true });
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toBe(
      "error: There is no command `jobs lst` (unknown_command)\nhint: Did you mean `pilotlight jobs ls`?\n",
    );
  });

  it("says where a key comes from when there is none", async () => {
    const result = await runHere(["jobs", "ls"]);
    expect(result.code).toBe(4);
    expect(envelope(result.stdout).error).toMatchObject({
      code: "not_logged_in",
      hint: expect.stringContaining("PILOTLIGHT_TOKEN"),
    });
  });

  it("does not send the local key to another server", async () => {
    const server = await scriptedServer(json(200, { data: [], next_cursor: null }));
    const result = await runHere(["jobs", "ls", "--url", server.url]);
    expect(result.code).toBe(4);
    expect(server.seen).toEqual([]);
  });

  it("gives exit code 8 when nobody answers", async () => {
    const env = { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: "http://127.0.0.1:1", PILOTLIGHT_RETRY_S: "0" };
    const result = await runHere(["keys", "create", "--name", "x"], { env });
    expect(result.code).toBe(8);
    expect(envelope(result.stdout).error).toMatchObject({
      code: "network_error",
      hint: expect.stringContaining("npm start"),
    });
  });
});

describe("a command's output", () => {
  const page = { data: [exampleJob({ state: "failed", phase: null })], next_cursor: "c2" };
  const env = (url: string) => ({ PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: url });

  it("is one envelope for programs", async () => {
    const server = await scriptedServer(json(200, page));
    const { code, stdout, stderr } = await runHere(["jobs", "ls"], { env: env(server.url) });
    expect([code, stderr]).toEqual([0, ""]);
    expect(envelope(stdout)).toMatchObject({
      schema: "envelope/1",
      ok: true,
      command: "jobs ls",
      data: { next_cursor: "c2" },
    });
  });

  it("is a table for people, and ids for shells", async () => {
    const server = await scriptedServer(json(200, page));
    const table = await runHere(["jobs", "ls"], { env: env(server.url), isTerminal: true });
    expect(table.stdout).toMatch(/^JOB +ENDPOINT +STATE.*\njob_[0-9a-z]+ +text-to-image +failed/);
    const ids = await runHere(["jobs", "ls"], {
      env: { ...env(server.url), PILOTLIGHT_OUTPUT: "id" },
      isTerminal: true,
    });
    expect(ids.stdout).toBe(`${exampleJob().id}\n`);
  });

  it("carries the request id of a refusal", async () => {
    const server = await scriptedServer(problem(403, "missing_scope", false));
    const { code, stdout } = await runHere(["jobs", "ls"], { env: env(server.url) });
    expect(code).toBe(4);
    expect(envelope(stdout).error).toMatchObject({ code: "missing_scope", request_id: "req_1" });
  });
});
