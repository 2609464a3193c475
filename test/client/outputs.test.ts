import { createHash, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Pilotlight } from "#client/pilotlight";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { type Answer, hangUp, scriptedServer } from "#test/client/scripted-server";

const CONTENT = randomBytes(300_000);
const record = {
  name: "images-0.png",
  size: CONTENT.length,
  sha256: createHash("sha256").update(CONTENT).digest("hex"),
};

/** Serves the content from the asked offset and breaks off after so many bytes. */
function serve(content: Buffer, breakAfter = Number.POSITIVE_INFINITY, etag = '"one"'): Answer {
  return ({ headers }, response) => {
    const from = Number(/^bytes=([0-9]+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const isSame = headers["if-range"] === undefined || headers["if-range"] === etag;
    const start = isSame ? from : 0;
    const rest = content.subarray(start);
    response.writeHead(start > 0 ? 206 : 200, { "content-length": String(rest.length), etag });
    if (rest.length <= breakAfter) response.end(rest);
    else response.write(rest.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 20));
  };
}

const clientOf = (url: string) => new Pilotlight({ baseUrl: url, token: "pl_x", retryForMs: 20_000 });

describe("downloading an output", () => {
  it("resumes a cut connection with a Range request", async () => {
    const server = await scriptedServer(serve(CONTENT, 100_000), serve(CONTENT, 50_000), serve(CONTENT));
    const bytes = await clientOf(server.url).outputs.bytes({ job: EXAMPLE_JOB_ID, output: record });
    expect(Buffer.from(bytes).equals(CONTENT)).toBe(true);
    expect(server.seen.length).toBe(3);
    expect(server.seen[0]?.headers.range).toBeUndefined();
    expect(server.seen[1]?.headers.range).toMatch(/^bytes=[1-9][0-9]*-$/);
    expect(server.seen[1]?.headers["if-range"]).toBe('"one"');
  });

  it("does not mix two files", async () => {
    const server = await scriptedServer(serve(CONTENT, 100_000), serve(CONTENT, Number.POSITIVE_INFINITY, '"two"'));
    const bytes = clientOf(server.url).outputs.bytes({ job: EXAMPLE_JOB_ID, output: record });
    await expect(bytes).rejects.toMatchObject({ code: "output_damaged" });
  });

  it("refuses other bytes than the record names", async () => {
    const other = Buffer.from(CONTENT);
    other.writeUInt8(other.readUInt8(7) ^ 1, 7);
    const server = await scriptedServer(serve(other));
    const bytes = clientOf(server.url).outputs.bytes({ job: EXAMPLE_JOB_ID, output: record });
    await expect(bytes).rejects.toMatchObject({ code: "output_damaged" });
  });

  it("takes a file of no bytes", async () => {
    const empty = { name: "empty.bin", size: 0, sha256: createHash("sha256").digest("hex") };
    const server = await scriptedServer(serve(Buffer.alloc(0)));
    const bytes = await clientOf(server.url).outputs.bytes({ job: EXAMPLE_JOB_ID, output: empty });
    expect(bytes.byteLength).toBe(0);
    expect(server.seen).toHaveLength(1);
  });

  it("works by name alone, when the record is not at hand", async () => {
    const server = await scriptedServer(serve(CONTENT));
    const bytes = await clientOf(server.url).outputs.bytes({ job: EXAMPLE_JOB_ID, output: record.name });
    expect(bytes.byteLength).toBe(CONTENT.length);
    expect(server.seen[0]?.url).toBe(`/v1/jobs/${EXAMPLE_JOB_ID}/outputs/images-0.png`);
  });
});

describe("uploading a file", () => {
  it("sends its bytes, name and type, and repeats them when the answer is lost", async () => {
    const file = {
      id: "file_0dpx4n3m8k7q2wz6tgr1vyc5ha",
      filename: "a b.png",
      content_type: "image/png",
      size: CONTENT.length,
      sha256: record.sha256,
      created_at: "2026-11-21T10:00:00.000Z",
      expires_at: "2026-12-21T10:00:00.000Z",
    };
    const server = await scriptedServer(hangUp, (_, response) => {
      response.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify(file));
    });
    const uploaded = await clientOf(server.url).files.upload(new Uint8Array(CONTENT), {
      filename: "a b.png",
      contentType: "image/png",
    });
    expect(uploaded.id).toBe(file.id);
    expect(server.seen).toHaveLength(2);
    for (const { url, headers, body } of server.seen) {
      expect(url).toBe("/v1/files?filename=a+b.png");
      expect(headers["content-type"]).toBe("image/png");
      expect(Buffer.from(body, "latin1").equals(CONTENT)).toBe(true);
    }
  });
});
