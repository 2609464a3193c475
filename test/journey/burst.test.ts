/** Far more submits at once than a queue may hold: each is stored or turned away, and nobody else notices. */
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LocalStack, startStack } from "#cli/local/stack";
import { stateFolderAt } from "#cli/local/state-folder";
import type { EndpointId } from "#contract/ids";
import { until } from "#test/until";
import { HandMadeNode } from "./hand-made-node.ts";

const SUBMITS = 5_000;
const DEPTH = 1_000;
/** Connections over which they all come. */
const SOCKETS = 256;
const WORKFLOW = {
  1: { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  2: { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "empty" } },
};
const SLOTS = 6;

let folder: string;
let stack: LocalStack;
let node: HandMadeNode;
const endpoints: Record<"busy" | "calm", EndpointId> = { busy: "" as EndpointId, calm: "" as EndpointId };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pilotlight-burst-"));
  const never = new AbortController();
  stack = await startStack({ state: stateFolderAt(folder), port: 0, report: () => undefined, signal: never.signal });
  const { token } = await stack.client.pods.createJoinToken(stack.credentials.pod_id);
  if (token === undefined) throw new Error("no join token");
  for (const [slug, replicas, depth] of [
    ["busy", SLOTS - 1, DEPTH],
    ["calm", 1, 100],
  ] as const) {
    const settings = { min_replicas: replicas, max_replicas: replicas, queue_depth_max: depth, idle_timeout_s: 3_600 };
    endpoints[slug] = (await stack.client.endpoints.create({ slug, workflow: WORKFLOW, settings })).id;
  }
  node = await HandMadeNode.join(stack.url, token, "node", SLOTS);
  await node.fill();
});
afterAll(async () => {
  await node?.stop();
  await stack?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: { readonly id?: string; readonly code?: string };
}

/** One submit, once. */
function submit(agent: Agent, slug: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${stack.credentials.key}`, "content-type": "application/json" };
    const url = `${stack.url}/v1/endpoints/${slug}/jobs`;
    const sent = request(url, { method: "POST", agent, headers }, (response: IncomingMessage) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers["retry-after"],
          body: JSON.parse(text) as Answer["body"],
        }),
      );
    });
    sent.on("error", reject);
    sent.end("{}");
  });
}

describe("five thousand submits at once", () => {
  it("are stored up to the queue's depth and turned away beyond it; what was stored is done, and others go on", async () => {
    // Nobody works for the busy endpoint yet, so that its queue fills up.
    node.work(endpoints.calm);
    let bursting = true;
    const beside: { state: string; wasDuring: boolean }[] = [];
    const neighbour = (async () => {
      while (bursting) {
        const { state } = await stack.client.jobs.submit("calm", {}, { waitS: 30 });
        beside.push({ state, wasDuring: bursting });
      }
    })();

    const agent = new Agent({ keepAlive: true, maxSockets: SOCKETS });
    const answers = await Promise.all(Array.from({ length: SUBMITS }, () => submit(agent, "busy")));
    bursting = false;
    await neighbour;
    agent.destroy();

    const accepted = answers.filter(({ status }) => status === 202).map(({ body }) => body.id ?? "none");
    const refused = answers.filter(({ status }) => status !== 202);
    expect(accepted).toHaveLength(DEPTH);
    expect(new Set(accepted).size).toBe(DEPTH);
    expect(new Set(refused.map(({ status, body }) => `${status} ${body.code}`))).toEqual(new Set(["429 queue_full"]));
    expect(refused.filter(({ retryAfter }) => !(Number(retryAfter) > 0))).toEqual([]);

    expect(beside.filter(({ state }) => state !== "succeeded")).toEqual([]);
    expect(beside.some(({ wasDuring }) => wasDuring)).toBe(true);

    // All that was accepted waits and is counted; nothing that was refused is there.
    const { queued, running } = await stack.client.queues.get("busy");
    expect(queued.interactive + queued.batch + running).toBe(DEPTH);
    node.work(endpoints.busy);
    await until("the queue is empty", () => (node.done.length >= DEPTH + beside.length ? true : undefined));
    const listed = new Map<string, string>();
    for await (const { id, state } of stack.client.jobs.list({ endpoint: "busy", limit: 100 })) listed.set(id, state);
    expect([...listed.keys()].toSorted()).toEqual(accepted.toSorted());
    expect(new Set(listed.values())).toEqual(new Set(["succeeded"]));
  });
});
