import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { EndpointId, JobId, makeId, ownerKey, WorkspaceId } from "#contract/ids";
import { newWebhookId } from "#durable-objects/webhooks/subscriptions";
import { WebhooksCore } from "#durable-objects/webhooks/webhooks-core";
import type { Sending } from "#durable-objects/webhooks/webhooks-state";
import { CountedDatabase } from "#test/durable-objects/endpoint/counted-database";
import { randomBytes } from "#test/durable-objects/endpoint/objects";

describe("rows written", () => {
  it("for a message that is delivered at its first try are 11, and none for one that nobody wants", async () => {
    const now = Date.now();
    const workspaceId = makeId(WorkspaceId, "ws", now, randomBytes);
    const endpointId = makeId(EndpointId, "ep", now, randomBytes);
    const stub = env.WEBHOOKS.getByName(`rows of ${workspaceId}`);
    await runInDurableObject(stub, (_object, state) => {
      const db = new CountedDatabase(state.storage);
      const core = new WebhooksCore(db, { now: () => Date.now(), randomBytes }, "", null);
      const webhook = {
        kind: "http",
        url: "https://hooks.example.org/in",
        endpointId: null,
        description: null,
      } as const;
      const id = newWebhookId(workspaceId, { now: () => now, randomBytes });
      const made = core.create(workspaceId, id, { ...webhook, events: ["job.succeeded"] }, { sealed: "x", hint: "x" });
      expect(made.ok).toBe(true);
      const accept = (type: "job.succeeded" | "job.failed") => {
        const jobId = makeId(JobId, "job", Date.now(), randomBytes, ownerKey(endpointId));
        const messageId = `msg_${jobId.slice(4)}_4`;
        return core.accept(workspaceId, endpointId, [
          { messageId, type, endpointId, jobId, at: Date.now(), data: "{}", url: null },
        ]);
      };
      const written = (work: () => unknown) => {
        const before = db.rowsWritten;
        work();
        return db.rowsWritten - before;
      };
      core.takeEffects();
      expect(written(() => accept("job.failed"))).toBe(0);
      const delivered = written(() => {
        accept("job.succeeded");
        const sending = core
          .takeEffects()
          .flatMap((effect): Sending[] => (effect.type === "send" ? [effect.sending] : []));
        for (const { deliveryId, startedAt } of sending) {
          core.tried(deliveryId, startedAt, { status: 204, ms: 1, error: null, answer: "", retryAfter: null });
        }
        expect(sending).toHaveLength(1);
      });
      expect(delivered).toBe(11);
      const { deliveries } = core.deliveries(workspaceId, id, { limit: 1 }) as { deliveries: { state: string }[] };
      expect(deliveries[0]?.state).toBe("delivered");
    });
  });
});
