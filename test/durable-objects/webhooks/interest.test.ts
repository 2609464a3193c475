import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { EndpointId, makeId, type OwnerKey, ownerKey, WorkspaceId } from "#contract/ids";
import type { WebhookEvent } from "#contract/webhook";
import type { Interest, WebhooksRpc } from "#durable-objects/webhooks/rpc";
import { must, randomBytes } from "#test/durable-objects/endpoint/objects";

describe("a new subscription", () => {
  it("is known to the endpoints once its call is answered, also while another endpoint does not answer", async () => {
    const workspaceId = makeId(WorkspaceId, "ws", Date.now(), randomBytes);
    const [quick, silent] = [1, 2].map(() => makeId(EndpointId, "ep", Date.now(), randomBytes));
    if (quick === undefined || silent === undefined) throw new Error("two endpoints");
    const stub = env.WEBHOOKS.getByName(workspaceId);
    const webhooks = stub as unknown as WebhooksRpc;
    for (const endpointId of [quick, silent]) await must(webhooks.register(workspaceId, endpointId));

    const heard: Interest[] = [];
    const asked: OwnerKey[] = [];
    await runInDurableObject(stub, (object) => {
      const endpoints = {
        getByName: (key: OwnerKey) => ({
          setInterest: async (_workspaceId: WorkspaceId, interest: Interest) => {
            asked.push(key);
            if (key === ownerKey(silent)) return new Promise<void>(() => {});
            heard.push(interest);
          },
        }),
      };
      Object.defineProperty(object, "env", { value: { ...env, ENDPOINTS: endpoints } });
    });

    for (const event of ["job.failed", "job.succeeded", "job.queued"] as const satisfies readonly WebhookEvent[]) {
      const url = "https://hooks.example.org/in";
      const webhook = { kind: "http", url, events: [event], endpointId: null, description: null } as const;
      await must(webhooks.create(workspaceId, webhook));
      expect(heard.at(-1)?.events).toContain(event);
    }
    // The silent one is asked once, until it answers or breaks off.
    expect(asked.filter((key) => key === ownerKey(silent))).toHaveLength(1);
  });
});
