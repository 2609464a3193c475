import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { Connection, readAnswer } from "#bench/load/connection";
import { holds, inTurns, median, quantile, ratio } from "#bench/measure";

describe("measurements", () => {
  it("take the middle, or the mean of the two in the middle", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([0, 10], 0.9)).toBeCloseTo(9);
    expect(() => median([])).toThrow(RangeError);
  });

  it("compare what was measured in the same round", () => {
    const one = { name: "one", unit: "x", rounds: [10, 1, 100] };
    const other = { name: "other", unit: "x", rounds: [5, 0.5, 10] };
    expect(ratio(one, other)).toBe(2);
  });

  it("run in turns, each second round the other way round, the first one uncounted", async () => {
    const order: string[] = [];
    const subject = (name: string) => ({
      name,
      unit: "x",
      measure: () => Promise.resolve(order.push(name)),
    });
    const [a, b] = await inTurns([subject("a"), subject("b")], 2, () => undefined);
    expect(order).toEqual(["a", "b", "b", "a", "a", "b"]);
    expect(a?.rounds).toEqual([4, 5]);
    expect(b?.rounds).toEqual([3, 6]);
  });

  it("keep to their bars or do not", () => {
    expect(holds({ what: "", value: 1.5, bound: 1.5, is: "at most" })).toBe(true);
    expect(holds({ what: "", value: 1.6, bound: 1.5, is: "at most" })).toBe(false);
    expect(holds({ what: "", value: 0.4, bound: 0.5, is: "at least" })).toBe(false);
  });
});

describe("an answer", () => {
  const read = (text: string) => readAnswer(Buffer.from(text));

  it("is whole when its length is there", () => {
    const text = "HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello";
    expect(read(text)?.status).toBe(202);
    expect(read(text)?.body.toString()).toBe("hello");
    for (let cut = 0; cut < text.length; cut += 1) expect(read(text.slice(0, cut))).toBeNull();
  });

  it("is whole when its last chunk is there", () => {
    const text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n3\r\n{}\n\r\n0\r\n\r\n";
    expect(read(text)?.body.toString()).toBe("\n{}\n");
    for (let cut = 0; cut < text.length; cut += 1) expect(read(text.slice(0, cut))).toBeNull();
  });
});

describe("a connection", () => {
  it("is opened again when the server has closed it between two requests, and not in the midst of one", async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("data", () => {
        if (sockets.length < 3) socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.");
        else socket.destroy();
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const connection = await Connection.open(`http://127.0.0.1:${address.port}`);
    for (let request = 1; request <= 2; request += 1) {
      expect((await connection.send({ method: "GET", path: "/" })).status).toBe(200);
      const [socket] = sockets.slice(-1);
      if (socket !== undefined && !socket.destroyed) await once(socket, "close");
    }
    await expect(connection.send({ method: "GET", path: "/" })).rejects.toThrow();
    expect(sockets).toHaveLength(3);
    connection.close();
    server.close();
  });
});
