import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PollId } from "#contract/agent";
import { beginJoin, endJoin } from "#gpu-agent/control/join-id";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-join-"));
  path = join(folder, "joining.json");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the id of a join", () => {
  it("is the same until the machine has joined, then another one", async () => {
    const first = await beginJoin(path, "https://one.example.com", "plj_a");
    expect(PollId.safeParse(first).success).toBe(true);
    expect(await beginJoin(path, "https://one.example.com", "plj_a")).toBe(first);
    await endJoin(path);
    expect(existsSync(path)).toBe(false);
    expect(await beginJoin(path, "https://one.example.com", "plj_a")).not.toBe(first);
  });

  it("belongs to one server and one token", async () => {
    const first = await beginJoin(path, "https://one.example.com", "plj_a");
    const otherServer = await beginJoin(path, "https://two.example.com", "plj_a");
    const otherToken = await beginJoin(path, "https://two.example.com", "plj_b");
    expect(new Set([first, otherServer, otherToken]).size).toBe(3);
  });

  it("is its owner's to read, and its file tells no token", async () => {
    await beginJoin(path, "https://one.example.com", "plj_secret");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).not.toContain("plj_secret");
  });

  it("is drawn anew where the file cannot be read", async () => {
    writeFileSync(path, "{ torn");
    expect(PollId.safeParse(await beginJoin(path, "https://one.example.com", "plj_a")).success).toBe(true);
  });

  it("may be ended twice", async () => {
    await endJoin(path);
    await endJoin(path);
  });
});
