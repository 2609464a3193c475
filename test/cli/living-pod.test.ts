import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { withLivingPod } from "#cli/local/living-pod";
import { Credentials, readJsonFile, stateFolderAt } from "#cli/local/state-folder";
import { KeyId, makeId, PodId, WorkspaceId } from "#contract/ids";
import { examplePod, POD_ID } from "#test/client/example-pod";

const zeros = (length: number) => new Uint8Array(length);
const OLD = makeId(PodId, "pod", 77, zeros);
const credentials: Credentials = {
  workspace_id: makeId(WorkspaceId, "ws", 1, zeros),
  pod_id: OLD,
  key_id: makeId(KeyId, "key", 1, zeros),
  key: "pl_x",
  created_at: "2026-11-22T00:00:00.000Z",
};

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "pilotlight-pod-"));
});
afterEach(() => rm(root, { recursive: true }));

async function start(living: ReturnType<typeof examplePod>[]) {
  const state = stateFolderAt(root);
  await writeFile(state.joinToken, "{}");
  const said: string[] = [];
  const made: string[] = [];
  const pods = {
    list: () => Promise.resolve(living),
    create: ({ name }: { name: string }) => {
      made.push(name);
      return Promise.resolve(examplePod({ name }));
    },
  };
  const report = (line: string) => said.push(line);
  const found = await withLivingPod(state, pods, credentials, report, new AbortController().signal);
  return { found, said, made, kept: await readJsonFile(state.credentials, Credentials), token: state.joinToken };
}

describe("the pod of this machine", () => {
  it("stays what it is while it lives", async () => {
    const { found, said, kept, token } = await start([examplePod(), examplePod({ id: OLD })]);
    expect([found, said, kept, existsSync(token)]).toEqual([credentials, [], null, true]);
  });

  it("is the oldest one after it was deleted, which is said and kept, and the token of the deleted one is not", async () => {
    const { found, said, made, kept, token } = await start([examplePod()]);
    expect(found).toEqual({ ...credentials, pod_id: POD_ID });
    expect(said).toEqual([expect.stringContaining("joins the oldest, rack")]);
    expect([made, kept, existsSync(token)]).toEqual([[], found, false]);
  });

  it("is a new one when there is no other", async () => {
    const { found, said, made } = await start([]);
    expect(found.pod_id).toBe(POD_ID);
    expect(made).toEqual(["default"]);
    expect(said).toEqual([expect.stringContaining("has a new one, default")]);
  });
});
