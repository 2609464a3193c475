/** Uploading and viewing files. */
import { describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import { type Contract, picture, uniqueName } from "./servers.ts";

async function png(
  width: number,
  height: number,
  colour: { r: number; g: number; b: number; alpha: number },
): Promise<Buffer> {
  const { default: sharp } = await import("sharp");
  return await sharp({ create: { width, height, channels: 4, background: colour } })
    .png()
    .toBuffer();
}

const RED = { r: 255, g: 0, b: 0, alpha: 1 };
const BLUE = { r: 0, g: 0, b: 255, alpha: 1 };

function form(bytes: Buffer | string, name: string, fields: Record<string, string> = {}): FormData {
  const data = new FormData();
  for (const [key, value] of Object.entries(fields)) data.set(key, value);
  data.set("image", new File([bytes instanceof Buffer ? new Uint8Array(bytes) : bytes], name));
  return data;
}

export function fileTests(contract: Contract): void {
  describe("files", () => {
    const upload = (bytes: Buffer | string, name: string, fields: Record<string, string> = {}) =>
      contract.client.post("/upload/image", form(bytes, name, fields));
    const view = (query: Record<string, string>, headers?: Record<string, string>) =>
      contract.client.get(`/view?${new URLSearchParams(query)}`, headers);

    it("keeps an upload under its name", async () => {
      const name = `${uniqueName()}.png`;
      const answer = await upload(await png(8, 6, RED), name);
      expect(answer.status).toBe(200);
      expect(answer.json).toMatchObject({ name, subfolder: "", type: "input" });
    });

    it("gives the same bytes the same name and other bytes another", async () => {
      const base = uniqueName();
      const [red, blue] = [await png(8, 6, RED), await png(8, 6, BLUE)];
      const names: unknown[] = [];
      for (const bytes of [red, red, blue, red, blue]) {
        const { json } = await upload(bytes, `${base}.png`);
        names.push(isJsonObject(json) ? json.name : null);
      }
      expect(names).toEqual([`${base}.png`, `${base}.png`, `${base} (1).png`, `${base}.png`, `${base} (1).png`]);
      const { json } = await upload(blue, `${base}.png`, { overwrite: "true" });
      expect(json).toMatchObject({ name: `${base}.png` });
      const { text } = await view({ filename: `${base}.png`, type: "input" });
      expect(text).toBe(blue.toString("utf8"));
    });

    it("makes subfolders, in any of the three folders", async () => {
      const subfolder = `${uniqueName()}/deep`;
      for (const type of ["input", "output", "temp"]) {
        const { json } = await upload("hello", "a.txt", { subfolder, type });
        expect(json).toMatchObject({ name: "a.txt", subfolder, type });
        expect((await view({ filename: "a.txt", subfolder, type })).text).toBe("hello");
      }
    });

    it("refuses uploads it cannot place", async () => {
      expect((await upload("x", "a.txt", { type: "nowhere" })).status).toBe(500);
      const outside = await upload("x", "a.txt", { subfolder: "../.." });
      expect([outside.status, outside.text]).toEqual([400, ""]);
      const empty = new FormData();
      empty.set("type", "input");
      expect((await contract.client.post("/upload/image", empty)).status).toBe(400);
    });

    it("shows a file with its type, size, tag and date", async () => {
      const name = `${uniqueName()}.png`;
      const bytes = await png(8, 6, RED);
      await upload(bytes, name);
      const answer = await view({ filename: name, type: "input" });
      expect(answer.status).toBe(200);
      expect(answer.contentType).toBe("image/png");
      expect(answer.headers.get("content-length")).toBe(String(bytes.length));
      expect(answer.headers.get("accept-ranges")).toBe("bytes");
      expect(answer.headers.get("content-disposition")).toBe(`filename="${name}"`);
      const tag = answer.headers.get("etag") ?? "";
      expect(tag).toMatch(/^"[0-9a-f]+-[0-9a-f]+"$/);
      expect((await view({ filename: name, type: "input" }, { "if-none-match": tag })).status).toBe(304);
      const annotated = await view({ filename: `${name} [input]` });
      expect(annotated.text).toBe(answer.text);
      const head = await contract.client.request("HEAD", `/view?filename=${name}&type=input`);
      expect([head.status, head.text, head.headers.get("content-length")]).toEqual([200, "", String(bytes.length)]);
    });

    it.each([
      ["bytes=0-9", 206, "bytes 0-9/20", "0123456789"],
      ["bytes=15-", 206, "bytes 15-19/20", "fghij"],
      ["bytes=-3", 206, "bytes 17-19/20", "hij"],
      ["bytes=5-500", 206, "bytes 5-19/20", "56789abcdefghij"],
      ["bytes=20-", 416, "bytes */20", undefined],
    ])("serves the range %s", async (range, status, contentRange, text) => {
      const name = `${uniqueName()}.txt`;
      await upload("0123456789abcdefghij", name);
      const answer = await view({ filename: name, type: "input" }, { range });
      expect([answer.status, answer.headers.get("content-range")]).toEqual([status, contentRange]);
      if (text !== undefined) expect(answer.text).toBe(text);
    });

    it.each([
      [{}, 404],
      [{ filename: "nope.png" }, 404],
      [{ filename: "a.png", type: "zzz" }, 400],
      [{ filename: "../a.png", type: "input" }, 400],
      [{ filename: "/a.png", type: "input" }, 400],
      [{ filename: "a.png", type: "input", subfolder: "../.." }, 403],
    ])("answers /view of %j with %i and nothing else", async (query, status) => {
      const answer = await view(query as Record<string, string>);
      expect([answer.status, answer.text, answer.contentType]).toEqual([status, "", null]);
    });

    it("re-encodes previews and channels", async () => {
      const name = `${uniqueName()}.png`;
      await upload(await png(8, 6, { ...RED, alpha: 0.5 }), name);
      const types = async (query: Record<string, string>) => {
        const answer = await view({ filename: name, type: "input", ...query });
        return [answer.status, answer.contentType, answer.headers.get("accept-ranges")];
      };
      expect(await types({ preview: "webp;50" })).toEqual([200, "image/webp", null]);
      expect(await types({ preview: "jpeg" })).toEqual([200, "image/jpeg", null]);
      expect(await types({ preview: "jpeg", channel: "a" })).toEqual([200, "image/webp", null]);
      expect(await types({ channel: "rgb" })).toEqual([200, "image/png", null]);
      expect(await types({ channel: "a" })).toEqual([200, "image/png", null]);
    });

    it("puts the alpha of a mask on an earlier upload", async () => {
      const { default: sharp } = await import("sharp");
      const base = uniqueName();
      await upload(await png(8, 6, RED), `${base}.png`);
      const original_ref = JSON.stringify({ filename: `${base}.png`, type: "input" });
      const mask = form(await png(8, 6, { ...BLUE, alpha: 0 }), `${base}-mask.png`, { original_ref });
      const answer = await contract.client.post("/upload/mask", mask);
      expect(answer.json).toMatchObject({ name: `${base}-mask.png`, subfolder: "", type: "input" });
      const response = await fetch(`${contract.client.base}/view?filename=${base}-mask.png&type=input`);
      const { data, info } = await sharp(Buffer.from(await response.arrayBuffer()))
        .raw()
        .toBuffer({ resolveWithObject: true });
      expect([info.width, info.height, info.channels]).toEqual([8, 6, 4]);
      expect([...data.subarray(0, 4)]).toEqual([255, 0, 0, 0]);
    });

    it("says yes to a mask for a missing original, and writes nothing", async () => {
      const name = `${uniqueName()}.png`;
      const original_ref = JSON.stringify({ filename: "missing.png", type: "input" });
      const answer = await contract.client.post("/upload/mask", form(await png(8, 6, RED), name, { original_ref }));
      expect([answer.status, answer.json]).toMatchObject([200, { name }]);
      expect((await view({ filename: name, type: "input" })).status).toBe(404);
    });

    it("lists an upload as a choice at once, and runs it", async () => {
      const name = `${uniqueName()}.png`;
      await upload(await png(8, 6, RED), name);
      const { json } = await contract.client.get("/object_info/LoadImage");
      expect(JSON.stringify(json)).toContain(name);
      const prompt = { ...picture(), "1": { class_type: "LoadImage", inputs: { image: name } } };
      const entry = await contract.client.finished(await contract.client.submit(prompt, { client_id: uniqueName() }));
      expect(entry.status).toMatchObject({ status_str: "success" });
    });

    it("notices that the file under a name changed", async () => {
      const name = `${uniqueName()}.png`;
      const prompt = { ...picture(), "1": { class_type: "LoadImage", inputs: { image: name } } };
      const cached: unknown[] = [];
      for (const colour of [RED, RED, BLUE]) {
        await upload(await png(8, 6, colour), name, { overwrite: "1" });
        const id = await contract.client.submit(prompt, { client_id: uniqueName() });
        const { status } = await contract.client.finished(id);
        const messages = isJsonObject(status) && Array.isArray(status.messages) ? status.messages : [];
        const message = messages.find((candidate) => Array.isArray(candidate) && candidate[0] === "execution_cached");
        cached.push(Array.isArray(message) && isJsonObject(message[1]) ? message[1].nodes : null);
      }
      expect(cached).toEqual([[], ["1", "2", "3"], []]);
    });

    it("writes the prompt into the picture", async () => {
      const { default: sharp } = await import("sharp");
      const prompt = picture();
      const workflow = { id: "ünique", seed: 1 };
      const fields = { client_id: uniqueName(), extra_data: { extra_pnginfo: { workflow } } };
      const entry = await contract.client.finished(await contract.client.submit(prompt, fields));
      const outputs = isJsonObject(entry.outputs) && isJsonObject(entry.outputs["3"]) ? entry.outputs["3"].images : [];
      const file = Array.isArray(outputs) && isJsonObject(outputs[0]) ? String(outputs[0].filename) : "";
      const response = await fetch(`${contract.client.base}/view?filename=${file}`);
      const { comments = [] } = await sharp(Buffer.from(await response.arrayBuffer())).metadata();
      const texts = Object.fromEntries(comments.map(({ keyword, text }) => [keyword, JSON.parse(text) as unknown]));
      expect(texts).toEqual({ prompt, workflow });
    });
  });
}
