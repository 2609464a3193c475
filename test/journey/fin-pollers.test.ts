/**
 * A machine that waits for work and is gone: its kernel closes the connection (FIN) or drops it, and the server, which
 * only writes, cannot know. A job that goes to such a waiter must come back.
 */
import { mkdtemp, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { JobStreamEvent } from "#client/job-events";
import type { EndpointId } from "#contract/ids";
import { LEASE_CONFIRM_MS } from "#contract/limits";
import { HandMadeNode } from "./hand-made-node.ts";

const SLUG = "empty";
const WORKFLOW = {
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "empty" } },
};
const GHOSTS = 50;
const WAVES = 4;
const WORKERS = 2;
/** An offer that nobody took ends at the alarm after its time, which a busy server hears late. */
const SLACK_MS = 5_000;

let folder: string;
let stack: LocalStack;
let ghosts: HandMadeNode;
let workers: HandMadeNode;
let endpointId: EndpointId;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-fin-"));
  const never = new AbortController();
  stack = await startStack({ state: stateFolderAt(folder), port: 0, report: () => undefined, signal: never.signal });
  const { token } = await stack.client.pods.createJoinToken(stack.credentials.pod_id);
  if (token === undefined) throw new Error("no join token");
  const replicas = GHOSTS + WORKERS;
  const endpoint = await stack.client.endpoints.create({
    slug: SLUG,
    workflow: WORKFLOW,
    settings: { min_replicas: replicas, max_replicas: replicas, idle_timeout_s: 3_600 },
  });
  endpointId = endpoint.id;
  ghosts = await HandMadeNode.join(stack.url, token, "ghosts", GHOSTS);
  workers = await HandMadeNode.join(stack.url, token, "workers", WORKERS);
  await Promise.all([ghosts.fill(), workers.fill()]);
});
afterAll(async () => {
  await Promise.all([ghosts?.stop(), workers?.stop()]);
  await stack?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** A half-closed connection still takes what the server writes; a dropped one answers it with a reset. */
const VANISHES = {
  "half closes its connection": (socket: Socket) => void socket.end(),
  "drops its connection": (socket: Socket) => void socket.destroy(),
};

async function eventsOf(id: string): Promise<JobStreamEvent[]> {
  const events: JobStreamEvent[] = [];
  for await (const event of stack.client.jobs.events(id)) if (event.seq !== null) events.push(event);
  return events;
}

/** How long each offer of the job lasted that nobody took, by the server's clock, ms. */
function lapses(events: readonly JobStreamEvent[]): number[] {
  const lasted: number[] = [];
  let offeredAt = 0;
  for (const { type, data } of events) {
    const at = Date.parse(String(data.at));
    if (type === "started") offeredAt = at;
    if (type === "retrying") lasted.push(at - offeredAt);
  }
  return lasted;
}

describe("a poller that vanishes while it waits", () => {
  it("two hundred times, costs no job, and none more than one offer of ten seconds", async () => {
    const ids: string[] = [];
    let vanished = 0;
    for (let wave = 0; wave < WAVES; wave += 1) {
      const sockets = await Promise.all([...ghosts.replicas.keys()].map((replica) => ghosts.openPoll(replica)));
      for (const [index, socket] of sockets.entries()) {
        const vanish = Object.values(VANISHES)[(wave + index) % 2];
        vanish?.(socket);
        vanished += 1;
      }
      const submits = Array.from({ length: GHOSTS }, () => stack.client.jobs.submit(SLUG, {}));
      for (const { id } of await Promise.all(submits)) ids.push(id);
      // From the second wave on there is somebody to do the work that comes back.
      if (wave === 0) workers.work(endpointId);
    }
    expect(vanished).toBe(GHOSTS * WAVES);

    const all = await Promise.all(
      ids.map(async (id) => {
        const job = await stack.client.jobs.wait(id, { timeoutMs: 90_000 });
        return { id, state: job.state, offers: lapses(await eventsOf(id)) };
      }),
    );
    expect(all.filter(({ state }) => state !== "succeeded")).toEqual([]);
    // Some did go to a dead waiter, or this would prove nothing.
    expect(all.some(({ offers }) => offers.length > 0)).toBe(true);
    // A job that came back from a dead machine is not given to that machine again while there is another.
    expect(all.filter(({ offers }) => offers.length > 1)).toEqual([]);
    expect(all.filter(({ offers }) => offers.some((ms) => ms > LEASE_CONFIRM_MS + SLACK_MS))).toEqual([]);
    expect(new Set(workers.done).size).toBe(ids.length);
  });
});
