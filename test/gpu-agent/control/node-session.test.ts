import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeId, NodeId, PodId } from "#contract/ids";
import { loadSession, nextStart, saveSession, tokenHash } from "#gpu-agent/control/node-session";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-session-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bytes = (length: number) => new Uint8Array(length);
const url = "https://example.com";
const kept = {
  url,
  node_id: makeId(NodeId, "node", 1, bytes),
  pod_id: makeId(PodId, "pod", 1, bytes),
  session: "s",
  join_token_sha256: tokenHash("plj_x"),
};

describe("the number of a start", () => {
  it("is above the last one, whatever the clock says", () => {
    expect(nextStart(0, 1_800_000_000_000.7)).toBe(1_800_000_000_000);
    expect(nextStart(1_800_000_000_000, 1_700_000_000_000)).toBe(1_800_000_000_001);
    expect(nextStart(5, 0)).toBe(6);
  });
});

describe("a session on disk", () => {
  it("comes back with the number of its last start", async () => {
    const path = join(folder, "session.json");
    await saveSession(path, { ...kept, start: 7 });
    expect(await loadSession(path, url, "plj_x")).toEqual({ ...kept, start: 7 });
    expect(await loadSession(path, "https://other.example.com", "plj_x")).toBeNull();
    expect(await loadSession(path, url, "plj_another")).toBeNull();
  });

  it("of an agent that did not count its starts is still good", async () => {
    const path = join(folder, "session.json");
    writeFileSync(path, JSON.stringify(kept));
    expect(await loadSession(path, url, undefined)).toEqual({ ...kept, start: 0 });
  });
});
