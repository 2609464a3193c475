import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { acceptKey, WebSocketConnection } from "#gpu-agent/stand-in/websocket";
import { until } from "#test/until";
import { TcpProxy } from "./tcp-proxy.ts";

let server: Server;
let proxy: TcpProxy;
let heard: string[];

beforeEach(async () => {
  heard = [];
  server = createServer((request, response) => {
    heard.push(request.url ?? "");
    if (request.url !== "/never") response.writeHead(request.url === "/late" ? 409 : 200).end("yes");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy = await TcpProxy.start(() => ({ host: "127.0.0.1", port: address.port }));
});
afterEach(async () => {
  await proxy.stop();
  server.closeAllConnections();
  server.close();
});

const get = async (path: string): Promise<string> => (await fetch(`${proxy.url}${path}`)).text();

describe("the wire", () => {
  it("passes everything on", async () => {
    expect(await get("/a")).toBe("yes");
  });

  it("breaks off what is under way when it is cut, and takes new connections", async () => {
    const answer = get("/never");
    answer.catch(() => undefined);
    await until("the request is there", () => heard.includes("/never") || undefined);
    expect(proxy.cut()).toBeGreaterThan(0);
    await expect(answer).rejects.toThrow();
    expect(await get("/b")).toBe("yes");
  });

  it("lets nothing through while it stalls, and everything afterwards", async () => {
    proxy.stall();
    const answer = get("/c");
    // The answer of another way proves that the server had the time to hear it.
    const address = server.address();
    if (address !== null && typeof address !== "string") await fetch(`http://127.0.0.1:${address.port}/beside`);
    expect(heard).toEqual(["/beside"]);
    proxy.flow();
    expect(await answer).toBe("yes");
  });

  it("holds a message back until it is released, and tells how it was answered, even if its sender is gone", async () => {
    const caught = proxy.holdNext(/^POST \/late /);
    const giveUp = new AbortController();
    const sender = fetch(`${proxy.url}/late`, { method: "POST", body: "{}", signal: giveUp.signal });
    sender.catch(() => undefined);
    const message = await caught;
    expect(message.text).toContain("/late");
    expect(await get("/other")).toBe("yes");
    giveUp.abort();
    expect(heard).toEqual(["/other"]);
    expect(await message.release(10_000)).toBe(409);
    expect(heard).toEqual(["/other", "/late"]);
  });

  it.each([
    ["problem", 402],
    ["answer", 200],
  ])("holds back a message over a WebSocket, and tells that it was answered with a %s", async (kind, status) => {
    const said = answeringSockets(kind);
    const client = new WebSocket(proxy.url.replace("http", "ws"));
    await once(client, "open");
    const caught = proxy.holdNext(/"call":"late"/);
    client.send('{"n":1,"call":"early"}');
    await once(client, "message");
    const long = `{"n":2,"call":"late","body":"${"x".repeat(300)}"}`;
    client.send(long);
    const message = await caught;
    expect(message.text).toBe(long);
    expect(said).toHaveLength(1);
    expect(await message.release(10_000)).toBe(status);
    expect(said).toEqual(['{"n":1,"call":"early"}', long]);
  });

  it("knows which of several messages that come at once it waits for", async () => {
    const said = answeringSockets("problem");
    const client = connect(proxy.port, "127.0.0.1");
    client.write(
      "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    await once(client, "data");
    const caught = proxy.holdNext(/"call":"late"/);
    const messages = ['{"n":7,"call":"early"}', '{"n":8,"call":"late"}', '{"n":9,"call":"after"}'];
    client.write(Buffer.concat(messages.map(frame)));
    const message = await caught;
    expect(message.text).toBe(messages[1]);
    expect(await message.release(10_000)).toBe(408);
    expect(said.slice(0, 2)).toEqual(messages.slice(0, 2));
    client.destroy();
  });
});

/** Answers each message over a WebSocket; a problem has the status 400 and the message's number. @returns what was said */
function answeringSockets(kind: string): string[] {
  const said: string[] = [];
  server.on("upgrade", (request, stream: Duplex, head) => {
    const socket = new WebSocketConnection(stream, acceptKey(request) ?? "", head, {
      text: (text) => {
        said.push(text);
        const { n } = JSON.parse(text) as { n: number };
        socket.sendText(`{"n":${n},"${kind}":{"title":"late","status":${400 + n}}}`);
      },
    });
  });
  return said;
}

/** A short text as a client's frame, masked with nothing. */
function frame(text: string): Buffer {
  return Buffer.concat([Buffer.of(0x81, 0x80 | text.length, 0, 0, 0, 0), Buffer.from(text)]);
}
