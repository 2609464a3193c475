import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import type { StoredOutput } from "#durable-objects/endpoint/rpc";
import { heldBytes, holdBytes } from "#durable-objects/outputs/held-bytes";
import { pushOutHeldBytes } from "#test/worker/push-out-held-bytes";
import { sha256Hex } from "#worker/auth/digest";
import { downloadAnswer } from "#worker/outputs/download";
import { putOutput } from "#worker/outputs/upload";

const MIB = 1024 * 1024;
const NOW = 1_000_000_000;

it("holds bytes for a moment, by key and hash", () => {
  const bytes = new Uint8Array([1, 2, 3]);
  holdBytes("held/a", bytes, "hash", NOW);
  expect(heldBytes("held/a", "hash", NOW + 9_999)).toBe(bytes);
  expect(heldBytes("held/a", "another hash", NOW)).toBeUndefined();
  expect(heldBytes("held/b", "hash", NOW)).toBeUndefined();
  expect(heldBytes("held/a", "hash", NOW + 10_000)).toBeUndefined();
});

it("holds sixteen MiB at most, the latest ones, and the same key once", () => {
  const now = NOW + 100_000;
  for (let at = 0; at < 20; at += 1) holdBytes(`held/${at}`, new Uint8Array(MIB), "hash", now);
  for (let again = 0; again < 20; again += 1) holdBytes("held/19", new Uint8Array(MIB), "hash", now);
  const known = Array.from({ length: 20 }, (_, at) => heldBytes(`held/${at}`, "hash", now) !== undefined);
  expect(known).toEqual(Array.from({ length: 20 }, (_, at) => at >= 4));
});

it("answers a download with what has just been stored, whole and in parts, and later from R2", async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(1_000));
  const sha256 = await sha256Hex(bytes);
  const key = "out/d7/held/0";
  const headers = { "content-type": "image/png", "content-length": "1000" };
  const upload = new Request("https://pilotlight.test/", { method: "PUT", body: bytes, headers });
  await putOutput(env.STORE, key, () => Promise.resolve(), upload, sha256);
  const output = { key, sha256, size: 1_000, name: "a.png", filename: "a.png", content_type: "image/png" };
  const download = async (range?: string) => {
    const request = new Request("https://pilotlight.test/", { headers: range === undefined ? {} : { range } });
    const answer = await downloadAnswer(env, request, "req_1", output as StoredOutput, false);
    return { status: answer.status, bytes: new Uint8Array(await answer.arrayBuffer()) };
  };
  const get = env.STORE.get;
  let asked = 0;
  env.STORE.get = ((...args: Parameters<typeof get>) => {
    asked += 1;
    return get.apply(env.STORE, args);
  }) as typeof get;
  try {
    expect(await download()).toEqual({ status: 200, bytes });
    expect(await download("bytes=10-19")).toEqual({ status: 206, bytes: bytes.slice(10, 20) });
    expect(asked).toBe(0);
    // Others push it out.
    pushOutHeldBytes();
    expect(await download()).toEqual({ status: 200, bytes });
    expect(await download("bytes=10-19")).toEqual({ status: 206, bytes: bytes.slice(10, 20) });
    expect(asked).toBe(2);
  } finally {
    env.STORE.get = get;
  }
});
