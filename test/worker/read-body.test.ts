import { describe, expect, it } from "vitest";
import { isProblem } from "#worker/http/is-problem";
import { wholeBody } from "#worker/http/read-body";

const request = (body: BodyInit) => new Request("https://pilotlight.test/", { method: "POST", body });

describe("the whole body of a request", () => {
  it("is what was sent, in whatever pieces it came", async () => {
    const pieces = ["he", "", "llo"].map((text) => new TextEncoder().encode(text));
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) controller.close();
        else controller.enqueue(piece);
      },
    });
    expect(new TextDecoder().decode(await wholeBody(request(stream), 5))).toBe("hello");
  });

  it("must come in time, also when a byte comes now and then", async () => {
    const silent = new ReadableStream<Uint8Array>();
    await expect(wholeBody(request(silent), 10, 20)).rejects.toSatisfy((error) => isProblem(error, "request_timeout"));
    const slow = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        controller.enqueue(new Uint8Array(1));
      },
    });
    await expect(wholeBody(request(slow), 1_000_000, 50)).rejects.toSatisfy((error) =>
      isProblem(error, "request_timeout"),
    );
  });

  it("that breaks off is the caller's fault, not ours", async () => {
    const broken = new ReadableStream<Uint8Array>({
      start: (controller) => controller.error(new Error("Network connection lost.")),
    });
    await expect(wholeBody(request(broken), 10)).rejects.toSatisfy((error) => isProblem(error, "malformed_request"));
  });

  describe("that says how long it is", () => {
    const stated = (body: BodyInit, length: number) =>
      new Request("https://pilotlight.test/", {
        method: "POST",
        body,
        headers: { "content-length": String(length) },
      });

    it("is read in one piece", async () => {
      expect(new TextDecoder().decode(await wholeBody(stated("hello", 5), 5))).toBe("hello");
    });

    it("must be as long as it says", async () => {
      for (const length of [4, 6]) {
        await expect(wholeBody(stated("hello", length), 100)).rejects.toSatisfy((error) =>
          isProblem(error, "malformed_request"),
        );
      }
    });

    it("must come in time", async () => {
      const silent = new ReadableStream<Uint8Array>();
      await expect(wholeBody(stated(silent, 5), 10, 20)).rejects.toSatisfy((error) =>
        isProblem(error, "request_timeout"),
      );
    });

    it("must not break off", async () => {
      const broken = new ReadableStream<Uint8Array>({
        start: (controller) => controller.error(new Error("Network connection lost.")),
      });
      await expect(wholeBody(stated(broken, 5), 10)).rejects.toSatisfy((error) =>
        isProblem(error, "malformed_request"),
      );
    });
  });

  it("that is a little too large is read to its end, so that the client sees the answer", async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 100_000;
        controller.enqueue(new Uint8Array(100_000));
        if (sent === 500_000) controller.close();
      },
    });
    const stated = new Request("https://pilotlight.test/", {
      method: "POST",
      body,
      headers: { "content-length": "500000" },
    });
    await expect(wholeBody(stated, 1_000)).rejects.toSatisfy((error) => isProblem(error, "body_too_large"));
    expect(sent).toBe(500_000);
  });
});
