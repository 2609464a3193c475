/** What one isolate remembers of outputs: what R2 has confirmed, and what a job that ended holds. */
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { JobId, makeId, WorkspaceId } from "#contract/ids";
import { Problem } from "#contract/problems";
import type { JobSnapshot, StoredOutput } from "#durable-objects/endpoint/rpc";
import { isJustStored, verifyManifest } from "#durable-objects/outputs/stored-outputs";
import { sha256Hex } from "#worker/auth/digest";
import { isProblem } from "#worker/http/is-problem";
import { rememberedOutput, rememberOutputs } from "#worker/outputs/remembered-outputs";
import { putOutput } from "#worker/outputs/upload";

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
const workspaceId = makeId(WorkspaceId, "ws", Date.now(), random);
const jobId = makeId(JobId, "job", Date.now(), random);

function request(bytes: Uint8Array<ArrayBuffer>): Request {
  const headers = { "content-type": "image/png", "content-length": String(bytes.byteLength) };
  return new Request("https://pilotlight.test/", { method: "PUT", body: bytes, headers });
}

const SMALL = random(1_000);
const LARGE = random(60_000).map((_, at) => at % 251);

async function put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const sha256 = await sha256Hex(bytes);
  await putOutput(env.STORE, key, () => Promise.resolve(), request(bytes), sha256);
  return sha256;
}

it("R2's confirmation holds for those bytes at that place, and for no others", async () => {
  const sha256 = await put("out/d7/remembered/0", SMALL);
  expect(isJustStored("out/d7/remembered/0", SMALL.byteLength, sha256)).toBe(true);
  expect(isJustStored("out/d7/remembered/1", SMALL.byteLength, sha256)).toBe(false);
  expect(isJustStored("out/d7/remembered/0", SMALL.byteLength + 1, sha256)).toBe(false);
  expect(isJustStored("out/d7/remembered/0", SMALL.byteLength, await sha256Hex(LARGE))).toBe(false);
});

it("other bytes for a place that is taken are refused, and what is stored there stays known", async () => {
  const first = await put("out/d7/remembered/2", SMALL);
  await expect(put("out/d7/remembered/2", LARGE)).rejects.toSatisfy((error) => isProblem(error, "output_conflict"));
  const other = { sha256: await sha256Hex(LARGE), size: LARGE.byteLength };
  expect(isJustStored("out/d7/remembered/2", other.size, other.sha256)).toBe(false);
  expect(isJustStored("out/d7/remembered/2", SMALL.byteLength, first)).toBe(true);
});

const HELD_BYTES_MAX = 1024 * 1024;

it.each([
  ["a small output, which is stored meanwhile", SMALL],
  ["a large one, which waits for the grant", new Uint8Array(HELD_BYTES_MAX + 1)],
])("nothing stays of %s when the lease is over", async (_, bytes) => {
  const key = `out/d7/refused/${bytes.byteLength}`;
  const refused = () => Promise.reject(new Problem("lease_lost", "The lease is over."));
  const storing = putOutput(env.STORE, key, refused, request(bytes), await sha256Hex(bytes));
  await expect(storing).rejects.toSatisfy((error) => isProblem(error, "lease_lost"));
  expect(await env.STORE.head(key)).toBeNull();
  expect(isJustStored(key, bytes.byteLength, await sha256Hex(bytes))).toBe(false);
});

it("what was stored under a living lease stays when the same output comes again after its end, or is not granted for now", async () => {
  const key = "out/d7/refused/twice";
  await put(key, SMALL);
  for (const code of ["lease_lost", "unavailable"] as const) {
    const refused = () => Promise.reject(new Problem(code, "Not now."));
    const storing = putOutput(env.STORE, key, refused, request(SMALL), await sha256Hex(SMALL));
    await expect(storing).rejects.toSatisfy((error) => isProblem(error, code));
    expect(await env.STORE.head(key)).not.toBeNull();
  }
});

it("a small output that could not be granted for now is not taken back: the same one may be on its way twice", async () => {
  const key = "out/d7/refused/unavailable";
  const refused = () => Promise.reject(new Problem("unavailable", "Not now."));
  const storing = putOutput(env.STORE, key, refused, request(SMALL), await sha256Hex(SMALL));
  await expect(storing).rejects.toSatisfy((error) => isProblem(error, "unavailable"));
  expect(await env.STORE.head(key)).not.toBeNull();
  expect(isJustStored(key, SMALL.byteLength, await sha256Hex(SMALL))).toBe(false);
});

it("a manifest is checked against R2 where this isolate knows nothing", async () => {
  const entry = {
    index: 5,
    name: "a.png",
    output: "image",
    kind: "image",
    filename: "a.png",
    content_type: "image/png",
  };
  const manifest = [{ ...entry, size: SMALL.byteLength, sha256: await sha256Hex(SMALL) }] as StoredOutput[];
  const checking = () => verifyManifest(env.STORE, "out/d7/elsewhere/", manifest);
  await expect(checking()).rejects.toSatisfy((error) => isProblem(error, "output_missing"));
  await env.STORE.put("out/d7/elsewhere/5", SMALL);
  expect(await checking()).toMatchObject([{ key: "out/d7/elsewhere/5" }]);
});

const output = { name: "image.png", key: "out/d7/x/0" } as StoredOutput;
const ended = (more: Partial<JobSnapshot> = {}) =>
  ({ id: jobId, state: "succeeded", finishedAt: 1_000_000, outputs: [output], ...more }) as JobSnapshot;

it("the outputs of a job that has just ended are known to its workspace for a while", () => {
  const now = 1_000_500;
  expect(rememberedOutput(workspaceId, jobId, "image.png", now)).toBeUndefined();
  for (const job of [ended({ state: "running", finishedAt: null }), ended({ finishedAt: now - 7_200_000 })]) {
    rememberOutputs(workspaceId, job, now);
    expect(rememberedOutput(workspaceId, jobId, "image.png", now)).toBeUndefined();
  }
  rememberOutputs(workspaceId, ended(), now);
  expect(rememberedOutput(workspaceId, jobId, "image.png", now)).toEqual(output);
  expect(rememberedOutput(workspaceId, jobId, "other.png", now)).toBeUndefined();
  const stranger = makeId(WorkspaceId, "ws", now, random);
  expect(rememberedOutput(stranger, jobId, "image.png", now)).toBeUndefined();
  expect(rememberedOutput(workspaceId, jobId, "image.png", now + 60_000)).toBeUndefined();
});
