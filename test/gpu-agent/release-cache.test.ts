import { expect, it } from "vitest";
import type { ReleaseForAgent } from "#contract/agent";
import { EndpointId, makeId } from "#contract/ids";
import { ReleaseCache } from "#gpu-agent/release-cache";

const endpoint_id = makeId(EndpointId, "ep", 0, (length) => new Uint8Array(length));
const release = (number: number, more: Partial<ReleaseForAgent> = {}): ReleaseForAgent => ({
  endpoint_id,
  endpoint: "x",
  release: number,
  graph: "{}",
  inputs: [],
  outputs: [],
  classes: [],
  ...more,
});

it("fetches a release once, keeps those in use, and forgets the one used longest ago", async () => {
  const fetched: number[] = [];
  const cache = new ReleaseCache((number) => {
    fetched.push(number);
    return Promise.resolve(release(number));
  });
  const { signal } = new AbortController();
  for (const number of [1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 1, 9, 1, 2]) {
    expect((await cache.get(number, signal)).release).toBe(number);
  }
  expect(fetched).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 2]);
});

it("asks again after a failure", async () => {
  let tries = 0;
  const cache = new ReleaseCache((number) => {
    tries += 1;
    return tries === 1 ? Promise.reject(new Error("no")) : Promise.resolve(release(number));
  });
  const { signal } = new AbortController();
  await expect(cache.get(1, signal)).rejects.toThrow("no");
  expect((await cache.get(1, signal)).release).toBe(1);
});

it("refuses a release whose graph has a class that it is not listed with, each time", async () => {
  const graph = JSON.stringify({
    "1": { class_type: "EmptyImage", inputs: {} },
    "2": { class_type: "Shell", inputs: {} },
  });
  const cache = new ReleaseCache((number) =>
    Promise.resolve(release(number, { graph, classes: number === 1 ? ["EmptyImage"] : ["EmptyImage", "Shell"] })),
  );
  const { signal } = new AbortController();
  for (const _ of [1, 2]) {
    await expect(cache.get(1, signal)).rejects.toMatchObject({
      jobError: { code: "invalid_workflow", node_id: "2", class_type: "Shell" },
    });
  }
  expect((await cache.get(2, signal)).release).toBe(2);
});
