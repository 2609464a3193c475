import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sendHttp } from "#gpu-agent/http-request";

let server: Server;
let url: string;
let serve: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;
const sockets = new Set<object>();

beforeEach(async () => {
  sockets.clear();
  serve = (_request, response) => response.end();
  server = createServer((request, response) => {
    sockets.add(request.socket);
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => serve(request, response, Buffer.concat(chunks)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/at?a=1`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const never = () => new AbortController().signal;

describe("a request", () => {
  it.each([
    ["a text", "größe", Buffer.from("größe")],
    ["bytes", new Uint8Array([0, 255, 7]), Buffer.from([0, 255, 7])],
    ["a Blob", new Blob([new Uint8Array(300_000).fill(5)]), Buffer.alloc(300_000, 5)],
    ["nothing", "", Buffer.alloc(0)],
  ])("carries %s with its length", async (_, body, arrives) => {
    let seen: unknown;
    serve = ({ method, url: at, headers }, response, received) => {
      seen = [method, at, headers["content-length"], headers["x-own"], received.equals(arrives)];
      response.writeHead(201, { "x-answer": "yes" }).end("done");
    };
    const answer = await sendHttp(url, { method: "PUT", headers: { "x-own": "1" }, body, signal: never() });
    expect(seen).toEqual(["PUT", "/at?a=1", String(arrives.byteLength), "1", true]);
    expect([answer.status, answer.isOk, answer.header("x-answer"), answer.header("x-none")]).toEqual([
      201,
      true,
      "yes",
      null,
    ]);
    expect(await answer.text()).toBe("done");
  });

  it("uses a connection again once an answer was read", async () => {
    for (let times = 0; times < 3; times += 1) {
      await (await sendHttp(url, { method: "GET", headers: {}, signal: never() })).bytes();
    }
    expect(sockets.size).toBe(1);
  });

  it("follows no redirect", async () => {
    serve = (_request, response) => response.writeHead(302, { location: "/elsewhere" }).end();
    const answer = await sendHttp(url, { method: "GET", headers: {}, signal: never() });
    expect([answer.status, answer.isOk]).toEqual([302, false]);
    await answer.bytes();
  });

  it("fails when nobody listens, and for an address that is not HTTP", async () => {
    await expect(sendHttp("http://127.0.0.1:1/", { method: "GET", headers: {}, signal: never() })).rejects.toThrow(
      "ECONNREFUSED",
    );
    await expect(sendHttp("ftp://127.0.0.1/", { method: "GET", headers: {}, signal: never() })).rejects.toThrow(
      "not HTTP",
    );
  });

  it("ends with the signal's reason: before it is sent, while it waits, and while its answer comes", async () => {
    const reason = new Error("enough");
    const before = sendHttp(url, { method: "GET", headers: {}, signal: AbortSignal.abort(reason) });
    await expect(before).rejects.toBe(reason);

    const waiting = new AbortController();
    serve = () => waiting.abort(reason);
    await expect(sendHttp(url, { method: "GET", headers: {}, signal: waiting.signal })).rejects.toBe(reason);

    const reading = new AbortController();
    serve = (_request, response) => response.writeHead(200).write("half");
    const answer = await sendHttp(url, { method: "GET", headers: {}, signal: reading.signal });
    const text = answer.text();
    reading.abort(reason);
    await expect(text).rejects.toBe(reason);
  });

  it("fails when the answer breaks off", async () => {
    serve = (_request, response) => {
      response.writeHead(200, { "content-length": "10" });
      response.write("half", () => response.destroy());
    };
    const answer = await sendHttp(url, { method: "GET", headers: {}, signal: never() });
    await expect(answer.text()).rejects.toThrow();
  });
});
