/** The queue and the history. */
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json } from "#contract/exact-json";
import { frameName, isText } from "./comfy-client.ts";
import { type Contract, picture, uniqueName } from "./servers.ts";

function idsOf(answer: Json, field: "queue_running" | "queue_pending"): string[] {
  const listed = isJsonObject(answer) ? answer[field] : undefined;
  return Array.isArray(listed) ? listed.map((item) => (Array.isArray(item) ? String(item[1]) : "")) : [];
}

/** Keeps the worker busy, so that what is submitted next has to wait. */
async function occupied(contract: Contract, clientId: string) {
  const socket = await contract.client.connect(clientId);
  const id = await contract.client.submit(await contract.slowPrompt(), { client_id: clientId });
  await socket.until((frame) => isText(frame) && frame.type === "executing" && frame.data.prompt_id === id);
  return { socket, id };
}

export function queueTests(contract: Contract): void {
  describe("the queue", () => {
    it("shows what runs and what waits, as tuples of five", async () => {
      const clientId = uniqueName();
      const { id: running, socket } = await occupied(contract, clientId);
      const prompt = picture();
      const secret = { api_key_comfy_org: "secret" };
      const waiting = await contract.client.submit(prompt, { client_id: clientId, extra_data: secret });
      const { json } = await contract.client.get("/queue");
      expect(idsOf(json, "queue_running")).toEqual([running]);
      expect(isJsonObject(json) ? json.queue_pending : null).toEqual([
        [
          expect.any(Number),
          waiting,
          prompt,
          { client_id: clientId, ...(contract.isNewer ? { create_time: expect.any(Number) } : secret) },
          ["3"],
        ],
      ]);
      expect((await contract.client.get("/prompt")).json).toEqual({ exec_info: { queue_remaining: 2 } });
      await contract.client.post("/queue", { delete: [waiting] });
      await contract.client.post("/interrupt", { prompt_id: running });
      await socket.untilEnd(running);
    });

    it("runs by number, front first, and sends a status for each change", async () => {
      const clientId = uniqueName();
      const { id: running, socket } = await occupied(contract, clientId);
      const from = socket.frames.length;
      const late = await contract.client.submit(picture(), { client_id: clientId });
      const later = await contract.client.submit(picture(), { client_id: clientId });
      const first = await contract.client.submit(picture(), { client_id: clientId, front: true });
      const dropped = await contract.client.submit(picture(), { client_id: clientId });
      const answer = await contract.client.post("/queue", { delete: [dropped, crypto.randomUUID(), running] });
      expect([answer.status, answer.text, answer.contentType]).toEqual([200, "", null]);
      await contract.client.post("/interrupt", { prompt_id: running });
      for (const id of [first, late, later]) await socket.untilEnd(id);
      const starts = socket.frames
        .slice(from)
        .filter((frame) => isText(frame) && frame.type === "execution_start")
        .map((frame) => (isText(frame) ? frame.data.prompt_id : ""));
      expect(starts).toEqual([first, late, later]);
      const counts = socket.frames
        .slice(from)
        .flatMap((frame) => (isText(frame) && frame.type === "status" ? [JSON.stringify(frame.data.status)] : []))
        .map((status) => Number(/queue_remaining":(\d+)/.exec(status)?.[1]));
      expect(counts).toEqual([2, 3, 4, 5, 4, 3, 3, 2, 2, 1, 1, 0]);
    });

    it("leaves no trace of a prompt that was taken out", async () => {
      const clientId = uniqueName();
      const { id: running, socket } = await occupied(contract, clientId);
      const dropped = await contract.client.submit(picture(), { client_id: clientId });
      await contract.client.post("/queue", { delete: [dropped] });
      expect((await contract.client.get(`/history/${dropped}`)).json).toEqual({});
      expect(idsOf((await contract.client.get("/queue")).json, "queue_pending")).toEqual([]);
      await contract.client.post("/interrupt", { prompt_id: running });
      await socket.untilEnd(running);
      const about = socket.frames.filter((frame) => isText(frame) && frame.data.prompt_id === dropped);
      expect(about.map(frameName)).toEqual([]);
    });

    it("clears what waits and leaves what runs", async () => {
      const clientId = uniqueName();
      const { id: running, socket } = await occupied(contract, clientId);
      for (let count = 0; count < 3; count += 1) await contract.client.submit(picture(), { client_id: clientId });
      const answer = await contract.client.post("/queue", { clear: true });
      expect([answer.status, answer.text]).toEqual([200, ""]);
      const { json } = await contract.client.get("/queue");
      expect([idsOf(json, "queue_running"), idsOf(json, "queue_pending")]).toEqual([[running], []]);
      await contract.client.post("/interrupt", { prompt_id: running });
      await socket.untilEnd(running);
    });

    it("keeps one history entry for two prompts with one id", async () => {
      const prompt_id = crypto.randomUUID();
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      for (const name of ["first", "second"]) {
        const from = socket.frames.length;
        const fields = { prompt_id, client_id: clientId, extra_data: { name } };
        expect(await contract.client.submit(picture(), fields)).toBe(prompt_id);
        await socket.untilEnd(prompt_id, from);
      }
      expect((await contract.client.finished(prompt_id)).prompt).toMatchObject([{}, {}, {}, { name: "second" }, {}]);
    });

    it("forgets a history entry on request, and answers an unknown one with an empty object", async () => {
      const id = await contract.client.submit(picture(), { client_id: uniqueName() });
      await contract.client.finished(id);
      const answer = await contract.client.post("/history", { delete: [id, "unknown"] });
      expect([answer.status, answer.text, answer.contentType]).toEqual([200, "", null]);
      expect((await contract.client.get(`/history/${id}`)).json).toEqual({});
    });

    it("gives the last entries of the history for max_items", async () => {
      const ids: string[] = [];
      for (let count = 0; count < 3; count += 1) {
        ids.push(await contract.client.submit(picture(), { client_id: uniqueName() }));
        await contract.client.finished(ids.at(-1) ?? "");
      }
      const { json } = await contract.client.get("/history?max_items=2");
      expect(Object.keys(isJsonObject(json) ? json : {})).toEqual(ids.slice(1));
      expect((await contract.client.get("/history?max_items=x")).status).toBe(500);
    });

    it("drops cached results with POST /free", async () => {
      const prompt = picture();
      await contract.client.finished(await contract.client.submit(prompt, { client_id: uniqueName() }));
      const answer = await contract.client.post("/free", { unload_models: true, free_memory: true });
      expect([answer.status, answer.text]).toEqual([200, ""]);
      // The worker acts on it when it is idle, so the next prompt may still be too early.
      await contract.client.poll(async () => {
        await contract.client.post("/free", { free_memory: true });
        const id = await contract.client.submit(prompt, { client_id: uniqueName() });
        const { status } = await contract.client.finished(id);
        const messages = isJsonObject(status) && Array.isArray(status.messages) ? status.messages : [];
        const cached = messages.find((message) => Array.isArray(message) && message[0] === "execution_cached");
        return JSON.stringify(cached).includes('"nodes":[]') ? true : undefined;
      });
      expect((await contract.client.post("/free", "")).status).toBe(500);
    });
  });
}
