import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type DeliveryId, makeId, type WebhookId, WorkspaceId } from "#contract/ids";
import type { Delivery } from "#contract/webhook";
import type { CourierRpc, Posting, WebhooksRpc } from "#durable-objects/webhooks/rpc";
import { eventually, must, randomBytes } from "#test/durable-objects/endpoint/objects";
import { noContent, outside } from "#test/durable-objects/webhooks/outside";

afterEach(() => {
  vi.restoreAllMocks();
});

const posting: Posting = { url: "https://hooks.example.org/in", headers: { "webhook-id": "msg_1" }, body: "{}" };

/** A workspace with one webhook, and couriers that do as the test says; each call of one is noted with its name. */
async function withCouriers(carry: (call: number) => Promise<unknown>) {
  const workspaceId = makeId(WorkspaceId, "ws", Date.now(), randomBytes);
  const stub = env.WEBHOOKS.getByName(workspaceId);
  const webhooks = stub as unknown as WebhooksRpc;
  const calls: { readonly name: string; readonly posting: Posting }[] = [];
  await runInDurableObject(stub, (object) => {
    const couriers = {
      getByName: (name: string) => ({
        carry: (given: Posting) => {
          calls.push({ name, posting: given });
          return carry(calls.length);
        },
      }),
    };
    Object.defineProperty(object, "env", { value: { ...env, WEBHOOKS: couriers } });
  });
  const webhook = {
    kind: "http",
    url: "https://hooks.example.org/in",
    events: ["job.failed"],
    endpointId: null,
    description: null,
  } as const;
  const { id } = (await must(webhooks.create(workspaceId, webhook))).webhook;
  return { workspaceId, webhooks, calls, id };
}

/** The delivery once it has as many tries. */
const tried = (
  { workspaceId, webhooks, id }: { workspaceId: WorkspaceId; webhooks: WebhooksRpc; id: WebhookId },
  delivery: DeliveryId,
  tries: number,
): Promise<Delivery> =>
  eventually(async () => {
    const found = (await must(webhooks.delivery(workspaceId, id, delivery))).delivery;
    return found.tries.length >= tries ? found : null;
  });

describe("a courier", () => {
  it("posts what it is given and says what came of it", async () => {
    const posts = outside(() => new Response("thanks", { status: 202, headers: { "retry-after": "7" } }));
    const courier = env.WEBHOOKS.getByName("a workspace courier 1") as unknown as CourierRpc;
    expect(await courier.carry(posting)).toMatchObject({
      status: 202,
      answer: "thanks",
      error: null,
      retryAfter: "7",
    });
    expect(posts.map(({ url, body }) => [url, body])).toEqual([["https://hooks.example.org/in", "{}"]]);
    expect(posts[0]?.headers.get("webhook-id")).toBe("msg_1");
  });

  it("goes nowhere that the guard does not allow", async () => {
    const posts = outside(noContent);
    const courier = env.WEBHOOKS.getByName("a workspace courier 2") as unknown as CourierRpc;
    const result = await courier.carry({ ...posting, url: "https://10.0.0.1/" });
    expect(result).toMatchObject({ status: null, error: expect.stringContaining("may not be used") });
    expect(posts).toEqual([]);
  });

  it("asks a receiver that is not known yet; one that has answered quickly is asked by the object itself", async () => {
    const posts = outside(noContent);
    const answered = { status: 204, ms: 3, error: null, answer: "", retryAfter: null };
    const made = await withCouriers(async () => answered);
    const { workspaceId, webhooks, calls, id } = made;
    const first = (await must(webhooks.tryOut(workspaceId, id, "job.failed"))).delivery;
    expect((await tried(made, first.id, 1)).state).toBe("delivered");
    expect(calls.map(({ name }) => name)).toEqual([`${workspaceId} courier 1`]);
    expect(calls[0]?.posting.headers["webhook-id"]).toBe(first.message_id);
    expect(posts).toEqual([]);
    const second = (await must(webhooks.tryOut(workspaceId, id, "job.failed"))).delivery;
    expect((await tried(made, second.id, 1)).state).toBe("delivered");
    expect(calls).toHaveLength(1);
    expect(posts.map(({ headers }) => headers.get("webhook-id"))).toEqual([second.message_id]);
  });

  it("that breaks down loses no message: the log says so, and it is tried again", async () => {
    vi.spyOn(console, "error").mockReturnValue(undefined);
    outside(noContent);
    const answered = { status: 204, ms: 3, error: null, answer: "", retryAfter: null };
    const made = await withCouriers((call) =>
      call === 1 ? Promise.reject(new Error("the courier is gone")) : Promise.resolve(answered),
    );
    const { workspaceId, webhooks, calls, id } = made;
    const sent = (await must(webhooks.tryOut(workspaceId, id, "job.failed"))).delivery;
    const failed = await tried(made, sent.id, 1);
    expect(failed).toMatchObject({
      state: "pending",
      tries: [{ error: expect.stringContaining("could not be sent") }],
    });
    await must(webhooks.redeliver(workspaceId, id, sent.id));
    expect((await tried(made, sent.id, 2)).state).toBe("delivered");
    expect(calls).toHaveLength(2);
  });
});
