import { createServer, type RequestListener, type Server } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { problemBody } from "#contract/problems";
import { backoffMs } from "#gpu-agent/control/backoff";
import { ControlClient } from "#gpu-agent/control/control-client";
import { ControlError, isGone, isSessionLost } from "#gpu-agent/control/control-error";
import { keptLog, quickTimings } from "#test/gpu-agent/quick-timings";

let server: Server | null = null;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function clientOf(listener: RequestListener, session: () => string | null = () => "pls_x") {
  const listening = createServer(listener);
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  const address = listening.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const { log, lines } = keptLog();
  const timings = quickTimings({ pollStallMs: 400, callMs: 2_000 });
  return { client: new ControlClient({ url: `http://127.0.0.1:${port}/edge/`, session, log, timings }), lines };
}

const Answer = z.object({ a: z.number() });
const request = { method: "POST", path: "x", json: { b: 1 } } as const;

async function errorOf(promise: Promise<unknown>): Promise<ControlError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ControlError)) throw new Error("not a ControlError", { cause: error });
  return error;
}

describe("a request", () => {
  it("carries protocol, session and body to the path below the server's own", async () => {
    let seen: unknown;
    const { client } = await clientOf((incoming, response) => {
      const { authorization, "pilotlight-protocol": protocol, "content-type": type } = incoming.headers;
      seen = { url: incoming.url, authorization, protocol, type };
      response.end('{"a": 1}');
    });
    expect(await client.json(Answer, request)).toEqual({ a: 1 });
    expect(seen).toEqual({
      url: "/edge/agent/v1/x",
      authorization: "Bearer pls_x",
      protocol: "1",
      type: "application/json",
    });
  });

  it("sends the length of bytes, of none at all too", async () => {
    const lengths: (string | undefined)[] = [];
    const { client } = await clientOf((incoming, response) => {
      lengths.push(incoming.headers["content-length"]);
      incoming.resume().on("end", () => response.writeHead(204).end());
    });
    await client.done({ method: "PUT", path: "x", bytes: new Uint8Array(0) });
    await client.done({ method: "PUT", path: "x", bytes: new Blob(["abc"]) });
    expect(lengths).toEqual(["0", "3"]);
  });

  it("knows a refusal by its code, with the wait that was asked for", async () => {
    const { client } = await clientOf((_, response) => {
      response
        .writeHead(503, { "content-type": "application/problem+json", "retry-after": "7" })
        .end(JSON.stringify(problemBody("unavailable", "later", "req_1")));
    });
    expect(await errorOf(client.json(Answer, request))).toMatchObject({
      code: "unavailable",
      status: 503,
      retryable: true,
      retryAfterMs: 7_000,
    });
  });

  it.each([
    ["a proxy's page", 404, "<h1>Not found</h1>"],
    ["an answer of another shape", 200, '{"a": "x"}'],
    ["an answer that is no JSON", 200, "<html>"],
  ])("takes %s for trouble that passes", async (_, status, body) => {
    const { client } = await clientOf((_incoming, response) => response.writeHead(status).end(body));
    expect(await errorOf(client.json(Answer, request))).toMatchObject({ code: null, retryable: true });
  });

  it("has a time limit", async () => {
    const { client } = await clientOf(() => undefined);
    expect(await errorOf(client.json(Answer, { ...request, timeoutMs: 100 }))).toMatchObject({ retryable: true });
  });
});

describe("a poll", () => {
  it("reads over newlines to the one line of JSON, however it is cut", async () => {
    const { client } = await clientOf((_, response) => {
      response.writeHead(200);
      response.write("\n");
      setTimeout(() => response.write('\n{"a"'), 20);
      setTimeout(() => response.end(": 5}\n"), 40);
    });
    expect(await client.poll(Answer, request)).toEqual({ a: 5 });
  });

  it("has its refusals in that line", async () => {
    const { client } = await clientOf((_, response) =>
      response.end(`\n\n{"problem": ${JSON.stringify(problemBody("node_not_found", "gone", "req_1"))}}\n`),
    );
    const error = await errorOf(client.poll(Answer, request));
    expect(error).toMatchObject({ code: "node_not_found", retryable: false });
    expect(isSessionLost(error)).toBe(true);
  });

  it("is given up when no heartbeat comes, and not while they come", async () => {
    const { client } = await clientOf((incoming, response) => {
      response.writeHead(200).flushHeaders();
      if (incoming.url?.endsWith("silent")) return;
      const heartbeat = setInterval(() => response.write("\n"), 100);
      setTimeout(() => {
        clearInterval(heartbeat);
        response.end('{"a": 1}');
      }, 1_000);
    });
    expect(await client.poll(Answer, request)).toEqual({ a: 1 });
    const error = await errorOf(client.poll(Answer, { ...request, path: "silent" }));
    expect(error.message).toContain("no byte for 400 ms");
    expect(error.retryable).toBe(true);
  });

  it("is given up when the connection breaks or ends without a line", async () => {
    const { client } = await clientOf((incoming, response) => {
      response.writeHead(200).flushHeaders();
      if (incoming.url?.endsWith("empty")) response.end("\n");
      else setTimeout(() => response.destroy(), 20);
    });
    expect((await errorOf(client.poll(Answer, request))).retryable).toBe(true);
    expect((await errorOf(client.poll(Answer, { ...request, path: "empty" }))).retryable).toBe(true);
  });

  it("ends with the caller's reason", async () => {
    const { client } = await clientOf((_, response) => response.writeHead(200).flushHeaders());
    const stop = new AbortController();
    const polling = client.poll(Answer, { ...request, signal: stop.signal });
    stop.abort(new Error("the replica drains"));
    await expect(polling).rejects.toThrow("the replica drains");
  });
});

describe("trying until it works", () => {
  it("goes on while the trouble passes, with the session of the moment", async () => {
    let tries = 0;
    let session = "pls_old";
    const { client, lines } = await clientOf(
      (incoming, response) => {
        tries += 1;
        if (tries < 3) response.writeHead(502).end();
        else response.end(JSON.stringify({ a: incoming.headers.authorization === "Bearer pls_new" ? 1 : 0 }));
        session = "pls_new";
      },
      () => session,
    );
    expect(await client.persist("it", () => client.json(Answer, request))).toEqual({ a: 1 });
    expect(lines.map((line) => line.event)).toEqual([
      "server_call_failed",
      "server_call_failed",
      "server_answers_again",
    ]);
  });

  it("stops at a refusal that would come again", async () => {
    let tries = 0;
    const { client } = await clientOf((_, response) => {
      tries += 1;
      response.writeHead(409).end(JSON.stringify(problemBody("lease_lost", "", "req_1")));
    });
    const error = await errorOf(client.persist("it", () => client.json(Answer, request)));
    expect(isGone(error)).toBe(true);
    expect(tries).toBe(1);
  });

  it("stops when it is told to, also while it waits", async () => {
    const { client } = await clientOf((_, response) => response.writeHead(503, { "retry-after": "30" }).end());
    const stop = new AbortController();
    const trying = client.persist("it", () => client.json(Answer, request), stop.signal);
    setTimeout(() => stop.abort(new Error("enough")), 50);
    await expect(trying).rejects.toThrow("enough");
  });
});

it("waits longer with each try, by chance, up to a bound, and never less than it was asked to", () => {
  const bounds = { retryBaseMs: 500, retryMaxMs: 15_000 };
  expect([1, 2, 3, 10, 1_000].map((tries) => backoffMs(tries, 1, bounds))).toEqual([500, 1_000, 2_000, 15_000, 15_000]);
  expect(backoffMs(3, 0, bounds)).toBe(0);
  expect(backoffMs(3, 0.5, bounds)).toBe(1_000);
  expect(backoffMs(1, 0, bounds, 7_000)).toBe(7_000);
});

it("tells what is gone from what is only missing", () => {
  const error = (code: string, retryable = false) => new ControlError("", { code, status: 404, retryable });
  expect(isGone(error("lease_lost"))).toBe(true);
  expect(isGone(error("unauthenticated"))).toBe(true);
  expect(isGone(error("release_not_found"))).toBe(false);
  expect(isGone(error("file_not_found"))).toBe(false);
  expect(isGone(new ControlError("", { status: 404, retryable: true }))).toBe(false);
  expect(isGone(new Error("x"))).toBe(false);
});
