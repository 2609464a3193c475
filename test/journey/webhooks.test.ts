import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Delivery, Webhook, WebhookEvent } from "#contract/webhook";
import { signatureFault } from "#test/chaos/verify-signature";
import { type ReceivedRequest, WebhookReceiver } from "#test/fakes/webhook-receiver";
import { envelopeOf, killHard, System, startCli } from "#test/journey/system";
import { until } from "#test/until";

let system: System;
let receiver: WebhookReceiver;
let publicKey: string;

beforeAll(async () => {
  system = await System.start();
  receiver = await WebhookReceiver.start();
  await system.deploy("model-free", { settings: { idle_timeout_s: 600 } });
  const published = (await (await fetch(`${system.url}/.well-known/jwks.json`)).json()) as {
    keys: { whpk: string }[];
  };
  publicKey = published.keys[0]?.whpk ?? "";
});
afterAll(async () => {
  await receiver?.stop();
  await system?.stop();
});

const subscribe = (path: string, events: WebhookEvent[] = ["job.succeeded"]): Promise<Webhook> =>
  system.client.webhooks.create({ url: `${receiver.url}${path}`, events });
const submit = (seed: number, more: object = {}) =>
  system.client.jobs.submit("model-free", { inputs: { width: 64, color: seed }, ...more });
/** What is wrong with the request's signatures, judged from the specification; null when nothing is. */
const fault = (request: ReceivedRequest, secret: string | undefined) =>
  signatureFault(request, secret ?? "", publicKey);
const delivered = (webhook: string, delivery: string): Promise<Delivery> =>
  until(`${delivery} is delivered`, async () => {
    const found = await system.client.webhooks.delivery(webhook, delivery);
    return found.state === "delivered" ? found : undefined;
  });

describe("a job that ends", () => {
  it("is told to the subscription and to its own URL, signed, with links to its outputs", async () => {
    const all = await subscribe("/all", ["job.queued", "job.started", "job.succeeded"]);
    const job = await submit(1, { webhook: { url: `${receiver.url}/own?x=1` } });
    const ended = await system.client.jobs.wait(job.id);
    expect(ended.state).toBe("succeeded");
    await until("everything has arrived", () =>
      receiver.at("/all").length === 3 && receiver.at("/own").length === 1 ? true : undefined,
    );
    const [own] = receiver.at("/own");
    const last = receiver.at("/all").find(({ body }) => body.includes("job.succeeded"));
    if (own === undefined || last === undefined) throw new Error("one of them was not told");
    expect([own.id, own.body]).toEqual([last.id, last.body]);
    const defaults = await system.client.webhooks.secret("default");
    expect(fault(own, defaults.secret)).toBeNull();
    for (const request of receiver.at("/all")) expect(fault(request, all.secret)).toBeNull();
    expect(fault({ ...own, body: own.body.replace("succeeded", "Succeeded") }, defaults.secret)).not.toBeNull();

    const { type, data } = JSON.parse(own.body) as {
      type: string;
      data: { id: string; state: string; outputs: { url: string; size: number; sha256: string }[] };
    };
    expect([type, data.id, data.state]).toEqual(["job.succeeded", job.id, "succeeded"]);
    expect(data.outputs).toHaveLength(ended.outputs.length);
    const [output] = data.outputs;
    const headers = { authorization: `Bearer ${system.token}` };
    const file = await fetch(output?.url ?? "", { headers });
    expect([file.status, (await file.arrayBuffer()).byteLength]).toEqual([200, output?.size]);
    const log: Delivery[] = [];
    for await (const delivery of system.client.webhooks.ofJob(job.id)) log.push(delivery);
    expect(log.map(({ state }) => state)).toEqual(["delivered", "delivered", "delivered", "delivered"]);
    await system.client.webhooks.remove(all.id);
  });
});

describe("a receiver that misbehaves", () => {
  it("is tried again under the same id, with a signature of that try", async () => {
    const hook = await subscribe("/fails?fail=1&status=503&retry_after=2&body=busy");
    const { id } = await system.client.webhooks.test(hook.id, "job.failed");
    const { tries } = await delivered(hook.id, id);
    expect(tries.map(({ status, answer }) => [status, answer])).toEqual([
      [503, "busy"],
      [204, ""],
    ]);
    const [first, second] = receiver.at("/fails");
    if (first === undefined || second === undefined) throw new Error("there were not two tries");
    expect([second.id, second.body]).toEqual([first.id, first.body]);
    expect(Number(second.timestamp)).toBeGreaterThan(Number(first.timestamp));
    for (const request of [first, second]) expect(fault(request, hook.secret)).toBeNull();
    await system.client.webhooks.remove(hook.id);
  });

  it("is not followed, and is left alone when it is gone", async () => {
    const redirects = await subscribe("/redirects?redirect=1");
    const gone = await subscribe("/gone?gone=1");
    const sent = await system.client.webhooks.test(redirects.id);
    await system.client.webhooks.test(gone.id);
    await until("it is disabled", async () =>
      (await system.client.webhooks.get(gone.id)).state === "disabled" ? true : undefined,
    );
    const failed = await until("the redirect is noted", async () => {
      const found = await system.client.webhooks.delivery(redirects.id, sent.id);
      return found.tries.length > 0 ? found : undefined;
    });
    expect(failed).toMatchObject({ state: "pending", tries: [{ status: 307 }] });
    expect(receiver.at("/redirected")).toEqual([]);
    await system.client.webhooks.remove(redirects.id);
    await system.client.webhooks.remove(gone.id);
  });

  it("that hangs with 50 messages pending delays nobody else", async () => {
    const hangs = await subscribe("/hangs?hang=1");
    const quick = await subscribe("/quick");
    await Promise.all(Array.from({ length: 50 }, () => system.client.webhooks.test(hangs.id)));
    const sent = await Promise.all(Array.from({ length: 50 }, () => system.client.webhooks.test(quick.id)));
    await until("all of the other's arrive", () => (receiver.at("/quick").length === 50 ? true : undefined));
    expect(new Set(receiver.at("/quick").map(({ id }) => id))).toEqual(new Set(sent.map((one) => one.message_id)));
    // One of the hanging ones was on its way; the next goes only when that was given up, after all the others.
    const order = receiver.requests.map(({ path }) => path);
    expect(order.slice(0, order.lastIndexOf("/quick")).filter((path) => path === "/hangs")).toHaveLength(1);
    const page = await system.client.webhooks.deliveriesPage(hangs.id, { state: "delivered" });
    expect(page.data).toEqual([]);
    await system.client.webhooks.remove(hangs.id);
    await system.client.webhooks.remove(quick.id);
  });

  it("that hangs for ten single jobs delays no other URL of its origin", async () => {
    const shared = await WebhookReceiver.start();
    const of = (path: string) => ({ webhook: { url: `${shared.url}${path}`, events: ["job.queued"] } });
    for (let seed = 100; seed < 110; seed += 1) await submit(seed, of("/hangs?hang=1"));
    await submit(110, of("/quick"));
    await until("the other's arrives", () => (shared.at("/quick").length > 0 ? true : undefined));
    // The first for whoever hangs was on its way. A second would be the sign that it had ended before.
    const order = shared.requests.map(({ path }) => path);
    expect(order.slice(0, order.indexOf("/quick"))).toEqual(["/hangs"]);
    await shared.stop();
  });

  it.each([20, 50])("delays no new one that answers, though %i new ones hang", async (count) => {
    const paths = Array.from({ length: count }, (_, index) => `/new-${count}-hangs-${index}`);
    const hanging: Webhook[] = [];
    for (const path of paths) hanging.push(await subscribe(`${path}?hang=1`));
    await Promise.all(hanging.map(({ id }) => system.client.webhooks.test(id)));
    const path = `/new-${count}-quick`;
    const quick = await subscribe(path);
    await system.client.webhooks.test(quick.id);
    await until("its first message arrives", () => (receiver.at(path).length > 0 ? true : undefined), 110_000);
    await until("each of the others was asked", () =>
      paths.every((one) => receiver.at(one).length > 0) ? true : undefined,
    );
    // Nobody's first try had to end before: a second one would be its sign.
    const order = receiver.requests.map((request) => request.path);
    const before = order.slice(0, order.indexOf(path)).filter((one) => paths.includes(one));
    expect(new Set(before).size).toBe(before.length);
    for (const { id } of [quick, ...hanging]) await system.client.webhooks.remove(id);
  });
});

describe("an address that is not public", () => {
  it.each(["https://10.0.0.1/", "http://169.254.169.254/latest", "https://hooks.internal/"])(
    "%s is refused where it is given",
    async (url) => {
      const call = system.client.webhooks.create({ url });
      await expect(call).rejects.toMatchObject({ code: "invalid_url", status: 422 });
      const job = system.client.jobs.submit("model-free", { inputs: {}, webhook: { url } });
      await expect(job).rejects.toMatchObject({ code: "invalid_url", errors: [{ path: "/webhook/url" }] });
    },
  );
});

describe("a kill -9 of the server", () => {
  it("in the middle of a delivery loses no message", async () => {
    const hook = await subscribe("/slow?delay_ms=3000");
    const job = await submit(2);
    expect((await system.client.jobs.wait(job.id)).state).toBe("succeeded");
    const deliveries = () => system.client.webhooks.deliveriesPage(hook.id);
    const id = await until("the message is on its way", async () => (await deliveries()).data[0]?.id);
    await killHard(await system.serverPid());
    const { tries } = await delivered(hook.id, id);
    expect(tries.at(-1)).toMatchObject({ status: 204 });
    expect(tries[0]).toMatchObject({ status: null, error: expect.stringContaining("restarted") });
    const heard = receiver.at("/slow");
    expect(new Set(heard.map((request) => request.id)).size).toBe(1);
    for (const request of heard) expect(fault(request, hook.secret)).toBeNull();
    await system.client.webhooks.remove(hook.id);
  });

  it("right after a job's end loses no message either", async () => {
    const hook = await subscribe("/after", ["job.succeeded", "job.canceled"]);
    const jobs = await Promise.all(Array.from({ length: 20 }, (_, index) => submit(100 + index)));
    await Promise.all(jobs.map(({ id }) => system.client.jobs.cancel(id)));
    await killHard(await system.serverPid());
    await until("every job's end has been told", async () => {
      const told = receiver.at("/after").map(({ body }) => (JSON.parse(body) as { data: { id: string } }).data.id);
      return jobs.every(({ id }) => told.includes(id)) ? true : undefined;
    });
    await system.client.webhooks.remove(hook.id);
  });
});

describe("`pilotlight listen`", () => {
  const env = () => ({ PILOTLIGHT_STATE_DIR: system.state });

  async function listening(...args: string[]) {
    const command = startCli(["listen", "--forward-to", `${receiver.url}/forwarded`, "--json-stream", ...args], env());
    const events = () =>
      command
        .stdout()
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    const ready = await until("it listens", () => events().find(({ event }) => event === "listening"));
    return { command, events, webhook: String(ready.webhook), secret: String(ready.secret) };
  }

  it("forwards each message byte by byte, and is gone after a Ctrl-C", async () => {
    const first = await listening("--events", "job.succeeded,job.canceled");
    const triggered = await system.run("trigger", "job.succeeded", "--webhook", first.webhook, "--json");
    expect(envelopeOf(triggered).ok).toBe(true);
    const job = await submit(3);
    await system.client.jobs.wait(job.id);
    await until("both are forwarded", () => (receiver.at("/forwarded").length === 2 ? true : undefined));
    for (const request of receiver.at("/forwarded")) expect(fault(request, first.secret)).toBeNull();
    const log = await until("both are reported", async () => {
      const { data } = await system.client.webhooks.deliveriesPage(first.webhook, { state: "delivered" });
      return data.length === 2 ? data : undefined;
    });
    expect(log.map(({ body }) => body).toSorted()).toEqual(
      receiver
        .at("/forwarded")
        .map(({ body }) => body)
        .toSorted(),
    );
    first.command.process.kill("SIGINT");
    expect(await first.command.ended).toBe(0);
    await expect(system.client.webhooks.get(first.webhook)).rejects.toMatchObject({ code: "webhook_not_found" });

    const again = await listening();
    expect(again.secret).toBe(first.secret);
    expect(again.webhook).not.toBe(first.webhook);
    again.command.process.kill("SIGINT");
    expect(await again.command.ended).toBe(0);
  });

  it("reports what the program answered", async () => {
    const { command, webhook } = await listening("--forward-to", `${receiver.url}/broken?status=500&body=oops`);
    const { id } = await system.client.webhooks.test(webhook, "job.failed");
    const found = await until("it is reported", async () => {
      const one = await system.client.webhooks.delivery(webhook, id);
      return one.tries.length > 0 ? one : undefined;
    });
    expect(found).toMatchObject({ state: "pending", tries: [{ status: 500, answer: "oops" }] });
    command.process.kill("SIGINT");
    expect(await command.ended).toBe(0);
  });
});

describe("the command line", () => {
  it("makes, tries, shows, rotates and deletes webhooks", async () => {
    const made = await system.run("webhooks", "create", `${receiver.url}/cli`, "--events", "job.failed", "--json");
    const { webhook } = envelopeOf(made).data as { webhook: Webhook };
    expect(webhook.events).toEqual(["job.failed"]);
    await system.run("webhooks", "test", webhook.id);
    await until("it arrives", () => (receiver.at("/cli").length === 1 ? true : undefined));
    const attempts = await until("the log has it", async () => {
      const page = envelopeOf(await system.run("webhooks", "attempts", webhook.id, "--state", "delivered", "--json"));
      return (page.data.data as Delivery[]).length === 1 ? (page.data.data as Delivery[]) : undefined;
    });
    await system.run("webhooks", "redeliver", webhook.id, attempts[0]?.id ?? "");
    await until("it arrives again", () => (receiver.at("/cli").length === 2 ? true : undefined));
    expect(new Set(receiver.at("/cli").map(({ id }) => id)).size).toBe(1);
    const rotated = envelopeOf(await system.run("webhooks", "rotate", webhook.id, "--json"));
    expect(rotated.data.secret).toMatchObject({ previous: webhook.secret });
    const recovered = await system.run("webhooks", "recover", webhook.id, "--since", "2026-01-01T00:00:00Z", "--json");
    expect(envelopeOf(recovered).data).toEqual({ recovered: 0 });
    expect((await system.run("webhooks", "rm", webhook.id)).code).toBe(0);
    const unknown = await system.run("webhooks", "secret", webhook.id, "--json");
    expect(envelopeOf(unknown).error).toMatchObject({ code: "webhook_not_found" });
    expect((await system.run("trigger", "job.nothing", "--json")).code).toBe(2);
  });
});
