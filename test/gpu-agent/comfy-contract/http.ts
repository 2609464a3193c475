/** What holds for every request, and the pages about the server itself. */
import { request } from "node:http";
import { describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import type { Contract } from "./servers.ts";

/** `fetch` does not let a program set Origin or Host; a plain request does. */
function statusWith(
  base: string,
  method: string,
  headers: Record<string, string>,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(`${base}/queue`, { method, headers }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

export function httpTests(contract: Contract): void {
  describe("HTTP", () => {
    it.each(["/queue", "/prompt", "/history/none", "/object_info/Nope", "/models", "/features", "/embeddings"])(
      "answers %s bare and under /api",
      async (path) => {
        const [bare, prefixed] = [await contract.client.get(path), await contract.client.get(`/api${path}`)];
        expect(bare.status).toBe(200);
        expect(prefixed).toMatchObject({ status: 200, text: bare.text, contentType: bare.contentType });
      },
    );

    it("answers a wrong method with 405 and an unknown page with 404", async () => {
      const wrong = await contract.client.request("DELETE", "/queue");
      expect([wrong.status, wrong.text, wrong.contentType]).toEqual([
        405,
        "405: Method Not Allowed",
        "text/plain; charset=utf-8",
      ]);
      const unknown = await contract.client.get("/nope");
      expect([unknown.status, unknown.text]).toEqual([404, ""]);
      expect((await contract.client.post("/nope", "x")).status).toBe(405);
    });

    it("describes classes it has, and nothing for others", async () => {
      const { json } = await contract.client.get("/object_info/SaveImage");
      expect(json).toMatchObject({
        SaveImage: { name: "SaveImage", output_node: true, input: { required: { images: ["IMAGE", {}] } } },
      });
      expect((await contract.client.get("/object_info/Nope")).json).toEqual({});
      const all = (await contract.client.get("/object_info")).json;
      expect(Object.keys(isJsonObject(all) ? all : {})).toEqual(
        expect.arrayContaining(["EmptyImage", "SaveImage", "PreviewAny"]),
      );
    });

    it("keeps whole numbers beyond 2^53 exact", async () => {
      const { text } = await contract.client.get("/object_info/KSampler");
      expect(text).toContain("18446744073709551615");
    });

    it("describes its machine", async () => {
      const { json } = await contract.client.get("/system_stats");
      expect(json).toMatchObject({
        system: {
          os: contract.isNewer ? "linux" : "posix",
          comfyui_version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
          ram_total: expect.any(Number),
          argv: expect.any(Array),
        },
        devices: [{ name: expect.any(String), type: expect.any(String), vram_total: expect.any(Number) }],
      });
    });

    it("refuses web pages from elsewhere, with nothing to read", async () => {
      const { base } = contract.client;
      const host = new URL(base).host;
      expect(await statusWith(base, "GET", { origin: "http://evil.example" })).toEqual({ status: 403, text: "" });
      expect((await statusWith(base, "GET", { origin: `http://${host}` })).status).toBe(200);
      expect((await statusWith(base, "GET", { origin: "http://evil.example", host: "my.host" })).status).toBe(200);
      expect(await statusWith(base, "OPTIONS", {})).toEqual({ status: 200, text: "" });
    });

    it("answers unknown model folders with an empty 404", async () => {
      const answer = await contract.client.get("/models/nope");
      expect([answer.status, answer.text]).toEqual([404, ""]);
      expect((await contract.client.get("/models")).json).toEqual(expect.arrayContaining(["checkpoints", "loras"]));
    });
  });
}
