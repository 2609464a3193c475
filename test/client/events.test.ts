import { describe, expect, it } from "vitest";
import { readServerSentEvents } from "#client/event-stream";
import { Pilotlight } from "#client/pilotlight";
import { EXAMPLE_JOB_ID, exampleJob } from "#test/client/example-job";
import { type Answer, hangUp, problem, scriptedServer } from "#test/client/scripted-server";

/** Sends pieces of a stream, then ends it or breaks it. */
function stream(pieces: readonly string[], end: "ends" | "breaks" | "stays"): Answer {
  return async (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const piece of pieces) {
      response.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (end === "ends") response.end();
    if (end === "breaks") setTimeout(() => response.destroy(), 20);
  };
}

const event = (id: number, type: string, data: unknown = {}) =>
  `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify(data)}\n\n`;

async function eventsOf(url: string, afterSeq?: number) {
  const client = new Pilotlight({ baseUrl: url, token: "pl_x", retryForMs: 20_000 });
  const all: string[] = [];
  for await (const { seq, type } of client.jobs.events(EXAMPLE_JOB_ID, afterSeq === undefined ? {} : { afterSeq })) {
    all.push(`${seq} ${type}`);
  }
  return all;
}

describe("a job's events", () => {
  it("end with the terminal one, even when the connection stays open", async () => {
    const server = await scriptedServer(
      stream(
        [
          event(1, "queued"),
          ": still here\n\n",
          'event: progress\ndata: {"fraction":0.5}\n\n',
          event(2, "succeeded", exampleJob()),
        ],
        "stays",
      ),
    );
    expect(await eventsOf(server.url)).toEqual(["1 queued", "null progress", "2 succeeded"]);
  });

  it("go on after a broken connection where they stopped, each number once", async () => {
    const server = await scriptedServer(
      stream([event(1, "queued"), event(2, "started"), "id: 3\nevent: pha"], "breaks"),
      hangUp,
      problem(429, "too_many_watchers", true),
      stream([event(2, "started"), event(3, "phase")], "ends"),
      stream([event(4, "failed")], "ends"),
    );
    expect(await eventsOf(server.url)).toEqual(["1 queued", "2 started", "3 phase", "4 failed"]);
    expect(server.seen.map(({ headers }) => headers["last-event-id"])).toEqual([undefined, "2", "2", "2", "3"]);
  });

  it("are over when the server has nothing after the last number seen", async () => {
    const server = await scriptedServer((_, response) => {
      response.writeHead(204).end();
    });
    expect(await eventsOf(server.url, 7)).toEqual([]);
  });

  it("of an unknown job are an error", async () => {
    const server = await scriptedServer(problem(404, "job_not_found", false));
    await expect(eventsOf(server.url)).rejects.toMatchObject({ code: "job_not_found" });
  });

  it("close the connection when the reader leaves the loop", async () => {
    let closed: () => void = () => {};
    const gone = new Promise<void>((resolve) => {
      closed = resolve;
    });
    const server = await scriptedServer((request, response) => {
      response.on("close", closed);
      return stream([event(1, "queued")], "stays")(request, response);
    });
    const client = new Pilotlight({ baseUrl: server.url });
    for await (const { type } of client.jobs.events(EXAMPLE_JOB_ID)) {
      expect(type).toBe("queued");
      break;
    }
    await gone;
  });
});

describe("reading server-sent events", () => {
  const parse = async (pieces: readonly Uint8Array[]) => {
    const all = [];
    for await (const each of readServerSentEvents(ReadableStream.from(pieces))) all.push(each);
    return all;
  };
  const text =
    'id: 1\r\nevent: a\r\ndata: {"k": "grün"}\r\ndata: 2\r\n\r\n: comment\n\ndata:x\rdata\r\rid: 9\n\nevent: cut\ndata: 1';

  it("does not depend on how the bytes are split", async () => {
    const bytes = new TextEncoder().encode(text);
    const expected = [
      { id: "1", type: "a", data: '{"k": "grün"}\n2' },
      { id: null, type: "message", data: "x\n" },
    ];
    for (let size = 1; size <= bytes.length; size += 1) {
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
      expect(await parse(pieces), `pieces of ${size}`).toEqual(expected);
    }
  });
});
