import { describe, expect, it } from "vitest";
import type { Delivery } from "#contract/webhook";
import { runHere } from "#test/cli/command-line";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { json, scriptedServer } from "#test/client/scripted-server";

const CHARS = EXAMPLE_JOB_ID.slice("job_".length);
const WEBHOOK = `wh_${CHARS}`;

const failed: Delivery = {
  id: `dlv_${CHARS}` as Delivery["id"],
  webhook_id: WEBHOOK as Delivery["webhook_id"],
  message_id: `msg_${CHARS}_4`,
  event: "job.succeeded",
  job_id: EXAMPLE_JOB_ID as Delivery["job_id"],
  url: "https://hooks.example.org/in",
  state: "failed",
  tries: [{ at: "2026-11-21T10:00:00.000Z", status: 500, ms: 12, error: "Answered 500.", answer: "" }],
  next_try_at: null,
  created_at: "2026-11-21T10:00:00.000Z",
  body: "{}",
};

describe("webhooks attempts", () => {
  it("looks on where a page found nothing, and shows the first that did", async () => {
    const server = await scriptedServer(
      json(200, { data: [], next_cursor: "c1" }),
      json(200, { data: [], next_cursor: "c2" }),
      json(200, { data: [failed], next_cursor: "c3" }),
    );
    const env = { PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: server.url, PILOTLIGHT_RETRY_S: "0" };
    const result = await runHere(["webhooks", "attempts", WEBHOOK, "--state", "failed"], { env, isTerminal: true });
    expect(result.code).toBe(0);
    const path = `/v1/webhooks/${WEBHOOK}/deliveries?state=failed`;
    expect(server.seen.map(({ url }) => url)).toEqual([path, `${path}&cursor=c1`, `${path}&cursor=c2`]);
    expect(result.stdout).toContain("500 in 12 ms");
    expect(result.stdout).toContain("More: --cursor c3");
  });
});
