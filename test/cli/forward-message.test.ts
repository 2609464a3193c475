import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { forwardMessage } from "#cli/forward-message";
import { WEBHOOK_ANSWER_BYTES_MAX } from "#contract/limits";
import { DeliveryReport } from "#contract/webhook";

let server: Server | undefined;
afterEach(() => {
  server?.close();
});

/** Forwards a message to a program that answers each request like this. */
async function forwardedTo(answer: (socket: Socket) => void): Promise<DeliveryReport> {
  const started = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => answer(socket));
  });
  server = started;
  started.listen(0, "127.0.0.1");
  await once(started, "listening");
  const address = started.address();
  if (address === null || typeof address === "string") throw new Error("it listens on no port");
  const message = { headers: { "content-type": "application/json" }, body: "{}" };
  return forwardMessage(`http://127.0.0.1:${address.port}/`, message, new AbortController().signal);
}

describe("a forwarded message", () => {
  it.each([200, 302, 410, 500, 600, 999])(
    "is reported with status %i, and the report is one that is taken",
    async (status) => {
      const report = await forwardedTo((socket) => {
        socket.end(`HTTP/1.1 ${status} X\r\nConnection: close\r\nContent-Length: 4\r\n\r\noops`);
      });
      expect(DeliveryReport.parse(report)).toMatchObject({ status, error: null, answer: "oops" });
    },
  );

  it("is answered by whoever never stops talking, of whom the beginning is kept", async () => {
    const report = await forwardedTo((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const more = () => {
        while (!socket.destroyed && socket.write(`1000\r\n${"A".repeat(4_096)}\r\n`));
      };
      socket.on("drain", more);
      more();
    });
    expect(report).toMatchObject({ status: 200, error: null, answer: "A".repeat(WEBHOOK_ANSWER_BYTES_MAX) });
    expect(report.ms).toBeLessThan(5_000);
  });

  it("has failed when no HTTP came back", async () => {
    const report = await forwardedTo((socket) => socket.end("hello\r\n\r\n"));
    expect(DeliveryReport.parse(report)).toMatchObject({ status: null, answer: null, error: expect.any(String) });
  });
});
