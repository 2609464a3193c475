import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { json, problem, scriptedServer } from "#test/client/scripted-server";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-files-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a file that cannot be used", () => {
  it.each(["dev", "endpoints ls", "doctor"])(
    "stops %s with a sentence when it is where the state should be",
    async (words) => {
      const file = join(folder, "file");
      await writeFile(file, "");
      const env = { PILOTLIGHT_STATE_DIR: join(file, "state") };
      const { code, stderr } = await runHere([...words.split(" "), "--output", "text"], { env });
      expect(code).toBe(1);
      expect(stderr).toMatch(/^(starting the server …\n)?error: \S+ cannot be used: a part of its path is a file/);
      expect(stderr).toContain("PILOTLIGHT_STATE_DIR");
    },
  );

  it("is said to be a folder when it is one", async () => {
    const env = { PILOTLIGHT_TOKEN: "pl_x" };
    const { code, stderr } = await runHere(["files", "put", folder, "--output", "text"], { env });
    expect([code, stderr]).toEqual([2, `error: ${folder} cannot be read: it is a folder (file_unreadable)\n`]);
  });
});

describe("trouble with the server", () => {
  it("is told while a call is repeated", async () => {
    const server = await scriptedServer(problem(503, "unavailable", true), json(200, { data: [], next_cursor: null }));
    const env = { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url };
    const { code, stderr } = await runHere(["jobs", "ls"], { env });
    expect(code).toBe(0);
    expect(stderr).toContain("; trying again …");
  });

  it("names the port that PILOTLIGHT_PORT chose", async () => {
    const env = { PILOTLIGHT_PORT: "1" };
    expect((await runHere(["jobs", "ls"], { env })).stdout).toContain("http://127.0.0.1:1");
  });
});
