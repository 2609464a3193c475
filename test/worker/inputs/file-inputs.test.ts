import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { FileId, makeId, WorkspaceId } from "#contract/ids";
import {
  bmp,
  joinedBytes,
  jpeg,
  PNG_END,
  PNG_SIGNATURE,
  png,
  pngChunk,
  pngHeader,
  stored,
  wav,
} from "#test/worker/pictures";
import {
  jsonOf,
  makeEndpoint,
  makeWorkspace,
  refusalOf,
  scaleGraph,
  send,
  type TestWorkspace,
} from "#test/worker/workspace";
import { randomBytes } from "#worker/http/fresh-id";
import { inputFile } from "#worker/inputs/resolve-files";

let workspace: TestWorkspace;
beforeAll(async () => {
  workspace = await makeWorkspace();
  await makeEndpoint(workspace.key, "scale", { workflow: scaleGraph() });
});

const uri = (bytes: Uint8Array, type: string) => `data:${type};base64,${btoa(String.fromCharCode(...bytes))}`;
const submit = (image: unknown) =>
  send("POST", "/v1/endpoints/scale/jobs", {
    key: workspace.key,
    body: JSON.stringify({ inputs: { image } }),
    headers: { "content-type": "application/json" },
  });

describe("a picture for a job", () => {
  it.each([
    ["cut off", png(40, 30).subarray(0, -20), "is cut off"],
    [
      "that unpacks to too much",
      joinedBytes(PNG_SIGNATURE, pngHeader(1, 1), pngChunk("IDAT", stored(new Uint8Array(9_000))), PNG_END),
      "unpacks to more than the 2 bytes",
    ],
    ["too large", bmp(30_000, 30_000), "at most 50000000 are taken"],
    ["that is sound", wav(), "Must be a picture: PNG, JPEG, WebP, GIF or BMP; by its bytes this one is audio/wav"],
    ["that is an AVIF", new TextEncoder().encode("\0\0\0\u0018ftypavif\0\0\0\0avifmif1"), "It is an AVIF"],
  ])("%s is refused, with its place and the reason", async (_name, bytes, reason) => {
    for (const called of ["image/png", "application/octet-stream"]) {
      const answer = await submit(uri(bytes, called));
      const problem = await jsonOf(answer.clone());
      expect(await refusalOf(answer)).toEqual({ status: 422, code: "invalid_file", paths: ["/inputs/image"] });
      expect(problem.errors).toEqual([{ path: "/inputs/image", reason: expect.stringContaining(reason) }]);
    }
  });

  it("that is refused leaves nothing in the store", async () => {
    const { objects } = await env.STORE.list({ prefix: `in/${workspace.workspaceId}/` });
    expect(objects).toEqual([]);
  });

  it("is taken for what it is, whatever it is called", async () => {
    for (const called of ["image/png", "video/mp4", "text/html"]) {
      expect((await submit(uri(jpeg(40, 30), called))).status).toBe(202);
    }
  });
});

describe("the name that a machine gets for a file", () => {
  const named = (filename: string, contentType: string) => {
    const row = {
      id: makeId(FileId, "file", 0, randomBytes),
      workspaceId: WorkspaceId.parse(workspace.workspaceId),
      sha256: "0".repeat(64),
      filename,
      contentType,
      size: 1,
      key: "k",
      createdAt: 0,
      expiresAt: 0,
    };
    return inputFile(row, "image", 0).filename;
  };

  it.each([
    ["cat.png", "image/png", "cat.png"],
    ["CAT.JPEG", "image/jpeg", "CAT.JPEG"],
    ["cat.png", "image/jpeg", "cat.png.jpg"],
    ["file", "image/webp", "file.webp"],
    ["page.html", "image/gif", "page.html.gif"],
    ["png", "image/png", "png.png"],
    ["song.wav", "audio/flac", "song.wav.flac"],
    ["clip", "video/quicktime", "clip.mov"],
    ["table.csv", "text/csv", "table.csv"],
    ["x".repeat(255), "image/png", `${"x".repeat(250)}.png`],
  ])("has its format's extension: %s of %s", (filename, contentType, expected) => {
    expect(named(filename, contentType)).toBe(expected);
  });
});
