/** WebSockets: who hears what. */
import { describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import { frameName, isText } from "./comfy-client.ts";
import { type Contract, picture, uniqueName } from "./servers.ts";

export function socketTests(contract: Contract): void {
  describe("WebSockets", () => {
    it("greet with the queue and the client's id", async () => {
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      expect(socket.frames[0]).toEqual({
        type: "status",
        data: { status: { exec_info: { queue_remaining: expect.any(Number) } }, sid: clientId },
      });
    });

    it("get an id when they bring none", async () => {
      const socket = await contract.client.connect();
      expect(socket.frames[0]).toMatchObject({ data: { sid: expect.stringMatching(/^[0-9a-f]{32}$/) } });
    });

    it("negotiate features with their first message only", async () => {
      const first = await contract.client.connect(uniqueName(), { supports_preview_metadata: true });
      const { json } = await contract.client.get("/features");
      expect(first.frames.at(-1)).toEqual({ type: "feature_flags", data: json });
      expect(isJsonObject(json) && json.supports_preview_metadata).toBe(true);

      const late = await contract.client.connect(uniqueName());
      late.send({ type: "something else" });
      late.send({ type: "feature_flags", data: {} });
      const id = await contract.client.submit(picture());
      await late.until((frame) => isText(frame) && frame.data.prompt_id === id);
      expect(late.frames.map(frameName)).not.toContain("feature_flags");
    });

    it("are told the running node when they come back", async () => {
      const clientId = uniqueName();
      const first = await contract.client.connect(clientId);
      const id = await contract.client.submit(await contract.slowPrompt(), { client_id: clientId });
      await first.until((frame) => frameName(frame) === "executing 2");
      first.close();
      await first.untilClosed();
      const second = await contract.client.connect(clientId);
      const again = await second.until((frame) => isText(frame) && frame.type === "executing");
      expect(again).toEqual({ type: "executing", data: { node: expect.any(String) } });
      await contract.client.post("/interrupt", { prompt_id: id });
      const frames = await second.untilEnd(id);
      expect(frames.map(frameName)).toContain("execution_interrupted");
    });

    it("fall silent when an older socket of the same id closes after them", async () => {
      const clientId = uniqueName();
      const older = await contract.client.connect(clientId);
      const newer = await contract.client.connect(clientId);
      older.close();
      await older.untilClosed();
      const witness = await contract.client.connect(uniqueName());
      const from = newer.frames.length;
      await contract.client.finished(await contract.client.submit(picture(), { client_id: clientId }));
      await witness.until((frame) => isText(frame) && frame.type === "status" && frame.data.sid === undefined);
      expect(newer.isClosed).toBe(false);
      expect(newer.frames.slice(from)).toEqual([]);
    });

    it("hear nothing of other clients' prompts but the length of the queue", async () => {
      const other = await contract.client.connect(uniqueName());
      const from = other.frames.length;
      const clientId = uniqueName();
      const mine = await contract.client.connect(clientId);
      await mine.untilEnd(await contract.client.submit(picture(), { client_id: clientId }));
      const heard = other.frames
        .slice(from)
        .map(frameName)
        .filter((name) => !name.startsWith("asset"));
      expect(new Set(heard)).toEqual(new Set(["status"]));
    });

    it("exist under /api too, and are not an ordinary page", async () => {
      const socket = new WebSocket(`${contract.client.base.replace(/^http/, "ws")}/api/ws`);
      await new Promise((resolve, reject) => {
        socket.addEventListener("message", resolve);
        socket.addEventListener("error", reject);
      });
      socket.close();
      expect((await contract.client.get("/ws")).status).toBe(400);
    });
  });
}
