import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ReceivedRequest, WebhookReceiver } from "#test/fakes/webhook-receiver";

let receiver: WebhookReceiver;
beforeAll(async () => {
  receiver = await WebhookReceiver.start();
});
afterAll(() => receiver.stop());

const post = (path: string, id = "msg_1", init: RequestInit = {}) =>
  fetch(`${receiver.url}${path}`, {
    method: "POST",
    body: '{ "naïve" : "猫" }\n',
    headers: { "webhook-id": id, "webhook-timestamp": "1767225600", "webhook-signature": "v1,x" },
    redirect: "manual",
    ...init,
  });

describe("the receiver of webhooks", () => {
  it("keeps every request as it came", async () => {
    expect((await post("/kept")).status).toBe(204);
    expect(receiver.at("/kept")).toEqual([
      expect.objectContaining({
        method: "POST",
        id: "msg_1",
        timestamp: "1767225600",
        signature: "v1,x",
        body: '{ "naïve" : "猫" }\n',
        status: 204,
      }),
    ]);
  });

  it("fails as often as it is told, each message anew", async () => {
    const path = "/fails?fail=2&status=503&retry_after=7&body=busy";
    const first = await post(path);
    expect([first.status, first.headers.get("retry-after"), await first.text()]).toEqual([503, "7", "busy"]);
    const statuses = [];
    for (const id of ["msg_1", "msg_1", "msg_2", "msg_2", "msg_2"]) statuses.push((await post(path, id)).status);
    expect(statuses).toEqual([503, 204, 503, 503, 204]);
  });

  it("redirects, is gone, or always answers the same", async () => {
    const redirect = await post("/redirects?redirect=1");
    expect([redirect.status, redirect.headers.get("location")]).toEqual([307, `${receiver.url}/redirected`]);
    expect((await post("/gone?gone=1")).status).toBe(410);
    const always = [await post("/always?status=404"), await post("/always?status=404")];
    expect(always.map(({ status }) => status)).toEqual([404, 404]);
  });

  it("cuts the connection", async () => {
    await expect(post("/reset?reset=1")).rejects.toThrow();
    expect(receiver.at("/reset")).toHaveLength(1);
  });

  it("never answers, or never ends its answer, until the sender gives up", async () => {
    const giveUp = new AbortController();
    const hanging = post("/hangs?hang=1", "msg_1", { signal: giveUp.signal });
    while (receiver.at("/hangs").length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    giveUp.abort();
    await expect(hanging).rejects.toThrow();
    const trickling = await post("/trickles?trickle=1");
    expect(trickling.status).toBe(200);
    const reader = trickling.body?.getReader();
    expect((await reader?.read())?.done).toBe(false);
    expect((await reader?.read())?.done).toBe(false);
    await reader?.cancel();
  });

  it("is slow when told", async () => {
    const slow = post("/slow?delay_ms=300");
    expect((await post("/meanwhile")).status).toBe(204);
    expect(receiver.at("/slow")).toEqual([]);
    expect((await slow).status).toBe(204);
  });

  it("runs as a process that tells what it hears", async () => {
    const file = fileURLToPath(new URL("webhook-receiver.ts", import.meta.url));
    const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { url } = JSON.parse(String((await lines.next()).value)) as { url: string };
    await fetch(`${url}/told`, { method: "POST", body: "{}", headers: { "webhook-id": "msg_9" } });
    const told = JSON.parse(String((await lines.next()).value)) as ReceivedRequest;
    expect(told).toMatchObject({ path: "/told", id: "msg_9", body: "{}", status: 204 });
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  });
});
