import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { FileId, makeId } from "#contract/ids";
import { FILE_BYTES_MAX } from "#contract/limits";
import {
  bmp,
  flac,
  gif,
  joinedBytes,
  jpeg,
  mp3,
  mp4,
  ogg,
  PNG_END,
  PNG_SIGNATURE,
  png,
  pngChunk,
  pngHeader,
  stored,
  wav,
  webm,
  webp,
} from "#test/worker/pictures";
import { jsonOf, makeWorkspace, refusalOf, send, type TestWorkspace } from "#test/worker/workspace";
import { sha256Hex } from "#worker/auth/digest";
import { extendFiles } from "#worker/catalog/files";
import { randomBytes } from "#worker/http/fresh-id";

let workspace: TestWorkspace;
let stranger: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  stranger = await makeWorkspace();
});

const upload = (body: BodyInit, contentType: string, more: { path?: string; headers?: Record<string, string> } = {}) =>
  send("POST", more.path ?? "/v1/files", {
    key: workspace.key,
    body,
    headers: { "content-type": contentType, ...more.headers },
  });

async function storedBytes(fileId: string): Promise<Uint8Array | undefined> {
  const row = await env.CATALOG.prepare("SELECT key FROM files WHERE id = ?").bind(fileId).first<{ key: string }>();
  const object = row === null ? null : await env.STORE.get(row.key);
  return object === null ? undefined : new Uint8Array(await object.arrayBuffer());
}

describe("uploading a file", () => {
  it("stores its bytes and says what they are", async () => {
    const bytes = png(512, 512, 1);
    const answer = await upload(bytes, "image/png", { path: "/v1/files?filename=my%20cat.png" });
    expect(answer.status).toBe(201);
    const file = await jsonOf(answer);
    expect(file).toMatchObject({
      filename: "my cat.png",
      content_type: "image/png",
      size: bytes.byteLength,
      sha256: await sha256Hex(bytes),
    });
    expect(await storedBytes(String(file.id))).toEqual(bytes);
    expect(await jsonOf(await send("GET", `/v1/files/${String(file.id)}`, { key: workspace.key }))).toEqual(file);
  });

  it("gives the same file for the same bytes, in this workspace only", async () => {
    const bytes = png(16, 16, 2);
    const first = await jsonOf(await upload(bytes, "image/png"));
    const again = await upload(bytes, "application/octet-stream", { path: "/v1/files?filename=other.png" });
    expect(again.status).toBe(200);
    expect((await jsonOf(again)).id).toBe(first.id);
    const foreign = await send("POST", "/v1/files", {
      key: stranger.key,
      body: bytes,
      headers: { "content-type": "image/png" },
    });
    expect(foreign.status).toBe(201);
    expect((await jsonOf(foreign)).id).not.toBe(first.id);
  });

  it("takes the last word on a file of no known format, and silence for none", async () => {
    const bytes = joinedBytes([0x01], crypto.getRandomValues(new Uint8Array(100)));
    const typeBy = async (type: string) => {
      const data = new FormData();
      data.append("file", new Blob([bytes], { type }), "a.bin");
      return (await jsonOf(await send("POST", "/v1/files", { key: workspace.key, body: data }))).content_type;
    };
    expect(await typeBy("model/gltf-binary")).toBe("model/gltf-binary");
    expect(await typeBy("text/csv")).toBe("text/csv");
    const silent = await jsonOf(await upload(bytes, "application/octet-stream"));
    expect(silent.content_type).toBe("text/csv");
    expect(await jsonOf(await send("GET", `/v1/files/${String(silent.id)}`, { key: workspace.key }))).toEqual(silent);
  });

  it("makes one file of the same bytes sent many times at once", async () => {
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => upload(png(8, 8, 3), "image/png")));
    const ids = await Promise.all(answers.map(async (answer) => (await jsonOf(answer)).id));
    expect(new Set(ids).size).toBe(1);
    expect(await storedBytes(String(ids[0]))).toEqual(png(8, 8, 3));
    const { objects } = await env.STORE.list({ prefix: `in/${workspace.workspaceId}/` });
    const rows = await env.CATALOG.prepare("SELECT count(*) AS n FROM files WHERE workspace_id = ?")
      .bind(workspace.workspaceId)
      .first<{ n: number }>();
    expect(objects.length).toBe(rows?.n);
  });

  it("brings back the bytes of a file whose object was lost", async () => {
    const file = await jsonOf(await upload(png(9, 9, 4), "image/png"));
    const row = await env.CATALOG.prepare("SELECT key FROM files WHERE id = ?")
      .bind(String(file.id))
      .first<{ key: string }>();
    await env.STORE.delete(row?.key ?? "");
    const again = await jsonOf(await upload(png(9, 9, 4), "image/png"));
    expect(again.id).toBe(file.id);
    expect(await storedBytes(String(file.id))).toEqual(png(9, 9, 4));
  });

  it("streams files above one part, of a length nobody stated", async () => {
    const size = 20 * 1024 * 1024 + 12_345;
    let left = size;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = new Uint8Array(Math.min(left, 100_003)).fill(left & 0xff);
        left -= chunk.byteLength;
        controller.enqueue(chunk);
        if (left === 0) controller.close();
      },
    });
    const answer = await upload(body, "application/octet-stream");
    expect(answer.status).toBe(201);
    const file = await jsonOf(answer);
    expect(file).toMatchObject({ size, content_type: "application/octet-stream" });
    const bytes = await storedBytes(String(file.id));
    expect(await sha256Hex(bytes ?? new Uint8Array())).toBe(file.sha256);
  });

  it("checks the hash that was stated", async () => {
    const bytes = png(10, 10, 5);
    const right = await upload(bytes, "image/png", { headers: { "pilotlight-sha256": await sha256Hex(bytes) } });
    expect(right.status).toBe(201);
    const wrong = await upload(png(11, 11), "image/png", { headers: { "pilotlight-sha256": "0".repeat(64) } });
    expect(await refusalOf(wrong)).toEqual({ status: 422, code: "checksum_mismatch" });
    const broken = await upload(png(11, 11), "image/png", { headers: { "pilotlight-sha256": "x" } });
    expect(broken.status).toBe(400);
  });

  it.each([
    ["PNG", png(100, 50), "image/png"],
    ["JPEG", jpeg(100, 50), "image/jpeg"],
    ["JPEG after 300 kB of metadata", jpeg(100, 50, 300_000), "image/jpeg"],
    ["GIF", gif(100, 50), "image/gif"],
    ["WebP", webp(100, 50), "image/webp"],
    ["BMP", bmp(100, 50), "image/bmp"],
    ["WAV", wav(), "audio/wav"],
    ["FLAC", flac(), "audio/flac"],
    ["MP3", mp3(), "audio/mpeg"],
    ["OGG", ogg(), "audio/ogg"],
    ["MP4", mp4(), "video/mp4"],
    ["MP4 without pictures", mp4("soun"), "audio/mp4"],
    ["QuickTime film", mp4("vide", 64, 48, "qt  "), "video/quicktime"],
    ["WebM", webm(), "video/webm"],
    ["Matroska", webm(1, "matroska"), "video/x-matroska"],
    ["WebM without pictures", webm(2), "audio/webm"],
  ])("knows a %s by its bytes, whatever it is called", async (_name, bytes, type) => {
    for (const called of ["application/octet-stream", "image/png", "video/mp4", "text/html; charset=utf-8"]) {
      const body = new Blob([bytes], { type: called });
      const data = new FormData();
      data.append("file", body, "holiday.txt");
      const answer = await send("POST", "/v1/files", { key: workspace.key, body: data });
      expect(await jsonOf(answer)).toMatchObject({ content_type: type });
    }
  });

  it.each([
    ["HTML as PNG", new TextEncoder().encode("<html>"), "image/png"],
    ["SVG", new TextEncoder().encode("<svg onload=alert(1)>"), "image/svg+xml"],
    ["TIFF", new Uint8Array([0x49, 0x49, 0x2a, 0, 1, 2, 3]), "image/tiff"],
    ["text as sound", new TextEncoder().encode("la la la"), "audio/mpeg"],
    ["noise as a film", new Uint8Array(100).fill(7), "video/mp4"],
    ["13,000 × 13,000 pixels", png(13_000, 13_000), "image/png"],
    ["a huge GIF", gif(65_535, 65_535), "image/gif"],
    ["a huge JPEG", jpeg(60_000, 60_000), "image/jpeg"],
    ["a huge WebP", webp(16_383, 16_383), "image/webp"],
    ["a huge picture without a name", png(13_000, 13_000), "application/octet-stream"],
    ["a picture of no size", png(0, 10), "image/png"],
    ["a cut PNG", png(10, 10).subarray(0, 12), "image/png"],
    ["a JPEG without a size", jpeg(10, 10).subarray(0, 4), "image/jpeg"],
    ["an empty file", new Uint8Array(0), "application/octet-stream"],
  ])("refuses %s", async (_name, bytes, type) => {
    expect(await refusalOf(await upload(bytes, type))).toEqual({ status: 422, code: "invalid_file" });
  });

  it.each(["text/html", "application/json", "application/x-www-form-urlencoded", ""])(
    "refuses the type %j",
    async (type) => {
      const answer = await upload(new TextEncoder().encode("x"), type);
      expect(await refusalOf(answer)).toEqual({ status: 415, code: "unsupported_media_type" });
    },
  );

  it("refuses more than a file may have, before it has all come", async () => {
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1_048_576;
        controller.enqueue(new Uint8Array(1_048_576));
      },
    });
    expect(await refusalOf(await upload(endless, "application/octet-stream"))).toEqual({
      status: 413,
      code: "body_too_large",
    });
    expect(sent).toBeLessThan(FILE_BYTES_MAX + 20 * 1_048_576);
  });

  it.each([
    ["../../etc/passwd", "passwd"],
    ["C:\\Windows\\a.png", "a.png"],
    ["a\r\nSet-Cookie: x", "aSet-Cookie: x"],
    ["..", "file"],
    ["日本語.png", "日本語.png"],
  ])("keeps of the name %j what is a name", async (name, kept) => {
    const bytes = png(20, 20, name.length);
    await env.CATALOG.prepare("DELETE FROM files WHERE sha256 = ?")
      .bind(await sha256Hex(bytes))
      .run();
    const answer = await upload(bytes, "image/png", { path: `/v1/files?filename=${encodeURIComponent(name)}` });
    expect(await jsonOf(answer)).toMatchObject({ filename: kept });
  });
});

describe("a file that is refused", () => {
  const storedKeys = async () => {
    const { objects } = await env.STORE.list({ prefix: `in/${workspace.workspaceId}/` });
    return objects.map(({ key }) => key);
  };

  it.each([
    ["for its size", png(50_000, 50_000)],
    ["for what is missing of it", jpeg(40, 30).subarray(0, -2)],
    // Six megabytes: the store has had its first part when the end is seen to be missing.
    ["after its first part was sent on", jpeg(40, 30, 6_000_000).subarray(0, -2)],
    ["for what it unpacks to", pngOfTooMuch()],
  ])("%s leaves nothing behind", async (_name, bytes) => {
    const before = await storedKeys();
    expect(await refusalOf(await upload(bytes, "application/octet-stream"))).toEqual({
      status: 422,
      code: "invalid_file",
    });
    expect(await storedKeys()).toEqual(before);
    const rows = await env.CATALOG.prepare("SELECT id FROM files WHERE sha256 = ?")
      .bind(await sha256Hex(bytes))
      .all();
    expect(rows.results).toEqual([]);
  });

  it("is read no further than where that shows", async () => {
    let sent = 0;
    const start = png(50_000, 50_000);
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(sent === 0 ? start : new Uint8Array(65_536));
        sent += 1;
      },
    });
    expect(await refusalOf(await upload(endless, "image/png"))).toEqual({ status: 422, code: "invalid_file" });
    expect(sent).toBeLessThan(100);
  });
});

/** A PNG of one pixel whose data is a thousand rows long. */
function pngOfTooMuch(): Uint8Array {
  return joinedBytes(PNG_SIGNATURE, pngHeader(1, 1), pngChunk("IDAT", stored(new Uint8Array(2_000))), PNG_END);
}

describe("uploading by form", () => {
  const form = (parts: [string, Blob, string?][]) => {
    const data = new FormData();
    for (const [name, blob, filename] of parts) data.append(name, blob, filename);
    return send("POST", "/v1/files", { key: workspace.key, body: data });
  };

  it("takes the part called file, with its name and type", async () => {
    const bytes = png(30, 30, 6);
    const answer = await form([["file", new Blob([bytes], { type: "image/png" }), 'my "cat".png']]);
    expect(answer.status).toBe(201);
    const file = await jsonOf(answer);
    expect(file).toMatchObject({ filename: 'my "cat".png', content_type: "image/png", size: bytes.byteLength });
    expect(await storedBytes(String(file.id))).toEqual(bytes);
  });

  it("takes a name that is written with its encoding", async () => {
    const head = `--b\r\nContent-Disposition: form-data; name="file"; filename*=utf-8''%E2%82%AC%20rates.zip\r\n\r\n`;
    const body = new Blob([head, crypto.getRandomValues(new Uint8Array(50)), "\r\n--b--\r\n"]);
    const answer = await upload(body, "multipart/form-data; boundary=b");
    expect(await jsonOf(answer)).toMatchObject({ filename: "€ rates.zip" });
  });

  it("takes bytes that look like a boundary", async () => {
    const bytes = new TextEncoder().encode("\r\n--\r\n\r\n--------------\r\n--a");
    const file = await jsonOf(await form([["file", new Blob([bytes], { type: "application/zip" }), "a.bin"]]));
    expect(await storedBytes(String(file.id))).toEqual(bytes);
  });

  it("refuses other fields and a second file, and keeps nothing of them", async () => {
    const blob = (tail: number) => new Blob([png(31, 31, tail)], { type: "image/png" });
    expect(await refusalOf(await form([["image", blob(1), "a.png"]]))).toEqual({ status: 422, code: "invalid_file" });
    expect(
      await refusalOf(
        await form([
          ["file", blob(2), "a.png"],
          ["file", blob(3), "b.png"],
        ]),
      ),
    ).toEqual({
      status: 422,
      code: "invalid_file",
    });
    const kept = await env.CATALOG.prepare("SELECT id FROM files WHERE sha256 = ?")
      .bind(await sha256Hex(png(31, 31, 2)))
      .all();
    expect(kept.results).toEqual([]);
  });

  it.each([
    ["no boundary", "multipart/form-data", "x", 415],
    ["another boundary", "multipart/form-data; boundary=a", "--b\r\n\r\nx\r\n--b--", 400],
    ["no end", "multipart/form-data; boundary=a", '--a\r\nContent-Disposition: form-data; name="file"\r\n\r\nx', 400],
    ["no headers", "multipart/form-data; boundary=a", "--a\r\n", 400],
    ["endless headers", "multipart/form-data; boundary=a", `--a\r\n${"x".repeat(20_000)}`, 400],
  ])("refuses a form with %s", async (_name, type, body, status) => {
    expect((await upload(body, type)).status).toBe(status);
  });
});

describe("many files at once", () => {
  it("are kept longer, more of them than one statement takes", async () => {
    const now = Date.now();
    const ids = Array.from({ length: 199 }, () => makeId(FileId, "file", now, randomBytes));
    const file = await jsonOf(await upload(png(43, 43, 10), "image/png"));
    const last = FileId.parse(file.id);
    await extendFiles(env.CATALOG, workspace.workspaceId, [...ids, last], now + 1_000_000_000_000);
    const kept = await jsonOf(await send("GET", `/v1/files/${last}`, { key: workspace.key }));
    expect(kept.expires_at).toBe(new Date(now + 1_000_000_000_000).toISOString());
  });
});

describe("a file", () => {
  it("is unknown to strangers and after its time", async () => {
    const file = await jsonOf(await upload(png(40, 40, 7), "image/png"));
    const path = `/v1/files/${String(file.id)}`;
    expect(await refusalOf(await send("GET", path, { key: stranger.key }))).toEqual({
      status: 404,
      code: "file_not_found",
    });
    await env.CATALOG.prepare("UPDATE files SET expires_at = 1 WHERE id = ?").bind(String(file.id)).run();
    expect((await send("GET", path, { key: workspace.key })).status).toBe(404);
  });

  it("that is over leaves the store when another one comes", async () => {
    const old = await jsonOf(await upload(png(41, 41, 8), "image/png"));
    await env.CATALOG.prepare("UPDATE files SET expires_at = 1 WHERE id = ?").bind(String(old.id)).run();
    await upload(png(42, 42, 9), "image/png");
    await expect
      .poll(
        async () => (await env.CATALOG.prepare("SELECT id FROM files WHERE id = ?").bind(String(old.id)).all()).results,
      )
      .toEqual([]);
  });
});
