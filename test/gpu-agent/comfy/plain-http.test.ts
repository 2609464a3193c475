import { createServer, type Server, type Socket } from "node:net";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PlainHttp, type PlainRequest } from "#gpu-agent/comfy/plain-http";
import { BodyReader } from "#gpu-agent/comfy/plain-http-body";

let server: Server;
let http: PlainHttp;
/** Answers the request of that number on its connection. */
let serve: (socket: Socket, request: string, count: number) => void;
const sockets = new Set<Socket>();

beforeEach(async () => {
  sockets.clear();
  server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    let text = "";
    let count = 0;
    socket.on("data", (bytes: Buffer) => {
      text += bytes.toString();
      const length = /content-length: (\d+)/.exec(text)?.[1] ?? "0";
      const end = text.indexOf("\r\n\r\n") + 4 + Number(length);
      if (end < 4 || Buffer.byteLength(text) < end) return;
      const request = text;
      text = "";
      serve(socket, request, count++);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  http = new PlainHttp(new URL(`http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

function ask(more: Partial<PlainRequest> = {}) {
  return http.send({ method: "GET", target: "/at?a=1", headers: {}, limitMs: 60_000, isStream: false, ...more });
}

const answers = (text: string | Buffer) => {
  serve = (socket) => socket.write(text);
};

describe("a request", () => {
  it("goes out with its headers and the length of its body in bytes", async () => {
    let seen = "";
    serve = (socket, request) => {
      seen = request;
      socket.write("HTTP/1.1 201 Created\r\nX-Answer: yes\r\nx-answer: and yes\r\ncontent-length: 4\r\n\r\ndone");
    };
    const answer = await ask({ method: "POST", headers: { "x-own": "1" }, body: "größe" });
    expect(seen.split("\r\n")).toEqual([
      "POST /at?a=1 HTTP/1.1",
      expect.stringMatching(/^host: 127\.0\.0\.1:\d+$/),
      "x-own: 1",
      "content-length: 7",
      "",
      "größe",
    ]);
    expect([answer.status, answer.isOk, answer.header("x-answer"), answer.header("x-none")]).toEqual([
      201,
      true,
      "yes, and yes",
      null,
    ]);
    expect(answer.whole?.toString()).toBe("done");
    expect(await answer.text()).toBe("done");
  });

  it("takes the connection of the one before, and a second one for two at once", async () => {
    serve = (socket) => socket.write("HTTP/1.1 204 No Content\r\n\r\n");
    for (let times = 0; times < 3; times += 1) expect((await ask()).status).toBe(204);
    expect(sockets.size).toBe(1);
    await Promise.all([ask(), ask()]);
    await Promise.all([ask(), ask()]);
    expect(sockets.size).toBe(2);
  });

  it.each([
    ["is told to close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"],
    ["is of an old server", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"],
    ["sends more than it said", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"],
  ])("uses no connection again that %s", async (_, text) => {
    answers(text);
    expect(await (await ask()).text()).toBe("ok");
    expect(await (await ask()).text()).toBe("ok");
    expect(sockets.size).toBe(2);
  });

  it("uses no connection again that the server has closed", async () => {
    serve = (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    for (let times = 1; times <= 3; times += 1) {
      expect(await (await ask()).text()).toBe("ok");
      const closed = [...sockets].map((socket) => new Promise<void>((resolve) => socket.on("close", () => resolve())));
      await Promise.all(closed.slice(times - 1));
    }
    expect(sockets.size).toBe(3);
  });
});

describe("an answer", () => {
  const chunked =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nx-late: 1\r\n\r\n";
  it.each([
    ["with a length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde"],
    ["in chunks", chunked],
    ["after a hint", `HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${chunked}`],
  ])("%s is the same, however it is cut on its way", async (_, text) => {
    for (let cut = 1; cut < text.length; cut += 1) {
      serve = (socket) => {
        socket.write(text.slice(0, cut));
        setImmediate(() => socket.write(text.slice(cut)));
      };
      expect(await (await ask()).text()).toBe("abcde");
    }
    expect(sockets.size).toBe(1);
  });

  it("ends with its connection where it has neither length nor chunks", async () => {
    serve = (socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\nabc");
      setImmediate(() => socket.end("de"));
    };
    expect(await (await ask()).text()).toBe("abcde");
  });

  it("comes as a stream when it is large, no faster than it is read", async () => {
    const size = 64 * 1024 * 1024;
    let sent = 0;
    serve = (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
      const piece = Buffer.alloc(256 * 1024, 7);
      const more = () => {
        while (sent < size) {
          sent += piece.length;
          if (!socket.write(piece)) return void socket.once("drain", more);
        }
      };
      more();
    };
    const answer = await ask({ isStream: true });
    expect(answer.whole).toBeNull();
    // Until nothing moves any more.
    for (let before = -1; before !== sent; ) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(sent).toBeLessThan(size);
    let read = 0;
    for await (const part of answer.body) read += (part as Buffer).length;
    expect(read).toBe(size);
    serve = (socket) => socket.write("HTTP/1.1 204 No Content\r\n\r\n");
    await ask();
    expect(sockets.size).toBe(1);
  });

  it.each([
    ["that is no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"],
    ["with two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", "length"],
    ["with a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "length"],
    ["in another coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "coding"],
    ["with an endless head", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(70_000)}`, "too long"],
  ])("%s is refused", async (_, text, why) => {
    answers(text);
    await expect(ask()).rejects.toThrow(why);
  });

  it.each([
    ["without a size", "x\r\nabc"],
    ["longer than its size", "2\r\nabc\r\n"],
    ["of an impossible size", "1000000000000\r\n"],
  ])("whose chunk is %s breaks off", async (_, chunk) => {
    answers(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk}`);
    await expect(ask().then((answer) => answer.text())).rejects.toThrow("chunk");
  });

  it("that breaks off is an error, before its body and within", async () => {
    serve = (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-");
    await expect(ask()).rejects.toThrow("closed before");
    serve = (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    await expect(ask()).rejects.toThrow("closed before");
    serve = (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nhalf");
    const answer = await ask();
    await expect(answer.text()).rejects.toThrow("closed before");
  });

  it("fails when nobody listens", async () => {
    const nobody = new PlainHttp(new URL("http://127.0.0.1:1"));
    const request = { method: "GET", target: "/", headers: {}, limitMs: 60_000, isStream: false };
    await expect(nobody.send(request)).rejects.toThrow("ECONNREFUSED");
  });
});

describe("what ends a request", () => {
  it("is its signal: before it is sent, while it waits, and while its answer comes", async () => {
    const reason = new Error("enough");
    await expect(ask({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);

    const waiting = new AbortController();
    serve = () => waiting.abort(reason);
    await expect(ask({ signal: waiting.signal })).rejects.toBe(reason);

    const reading = new AbortController();
    answers("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nhalf");
    const answer = await ask({ signal: reading.signal, isStream: true });
    const text = answer.text();
    reading.abort(reason);
    await expect(text).rejects.toBe(reason);
  });

  it("is its limit, also when the answer has begun", async () => {
    serve = () => undefined;
    await expect(ask({ limitMs: 20 })).rejects.toThrow("no answer within 20 ms");
    answers("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nhalf");
    await expect(ask({ limitMs: 20 }).then((answer) => answer.text())).rejects.toThrow("no answer within 20 ms");
    answers("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    await expect(ask({ limitMs: 20 })).rejects.toThrow("no answer within 20 ms");
  });
});

describe("a chunked body", () => {
  it("is read as it was written, wherever it is cut", () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 6 });
    fc.assert(
      fc.property(pieces, fc.array(fc.nat(30), { maxLength: 30 }), (chunks, cuts) => {
        const sent = Buffer.concat([
          ...chunks.flatMap((chunk) => [Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n")]),
          Buffer.from("0\r\n\r\nnext"),
        ]);
        const reader = new BodyReader(200, (name) => (name === "transfer-encoding" ? "Chunked" : null));
        const read: Buffer[] = [];
        let at = 0;
        for (const cut of [...cuts, sent.length]) {
          read.push(...reader.read(sent.subarray(at, at + cut)));
          at = Math.min(sent.length, at + cut);
        }
        expect(Buffer.concat(read)).toEqual(Buffer.concat(chunks));
        expect([reader.isWhole, reader.hasMore]).toEqual([true, true]);
      }),
    );
  });
});
