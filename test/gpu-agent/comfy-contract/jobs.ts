/** The jobs API of newer servers. */
import { describe, expect, it } from "vitest";
import { isJsonObject } from "#contract/exact-json";
import { frameName } from "./comfy-client.ts";
import { type Contract, picture, uniqueName } from "./servers.ts";

export function jobTests(contract: Contract): void {
  describe("the jobs API", () => {
    it("exists in newer servers only", async () => {
      expect((await contract.client.get("/api/jobs")).status).toBe(contract.isNewer ? 200 : 404);
    });

    it("describes a finished job", async (test) => {
      test.skip(!contract.isNewer);
      const prompt = picture();
      const fields = { client_id: uniqueName(), extra_data: { extra_pnginfo: { workflow: { id: "my-workflow" } } } };
      const id = await contract.client.submit(prompt, fields);
      const entry = await contract.client.finished(id);
      const { status, json } = await contract.client.get(`/api/jobs/${id}`);
      expect(status).toBe(200);
      expect(json).toMatchObject({
        id,
        status: "completed",
        priority: expect.any(Number),
        create_time: expect.any(Number),
        execution_start_time: expect.any(Number),
        execution_end_time: expect.any(Number),
        outputs_count: 1,
        preview_output: { nodeId: "3", mediaType: "images", type: "output" },
        workflow_id: "my-workflow",
        outputs: entry.outputs as object,
        execution_status: { status_str: "success" },
        workflow: { prompt },
      });
      const list = await contract.client.get("/api/jobs?limit=1&status=completed&workflow_id=my-workflow");
      expect(list.json).toMatchObject({ jobs: [{ id, status: "completed" }], pagination: { offset: 0, limit: 1 } });
    });

    it("answers for unknown jobs and impossible questions", async (test) => {
      test.skip(!contract.isNewer);
      const unknown = await contract.client.get(`/api/jobs/${crypto.randomUUID()}`);
      expect([unknown.status, unknown.json]).toEqual([404, { error: "Job not found" }]);
      expect((await contract.client.get("/api/jobs?status=zzz")).status).toBe(400);
      expect((await contract.client.get("/api/jobs?limit=0")).json).toEqual({
        error: "limit must be a positive integer",
      });
      const cancel = await contract.client.post(`/api/jobs/${crypto.randomUUID()}/cancel`);
      expect([cancel.status, cancel.json]).toEqual([200, { cancelled: false }]);
    });

    it("cancels a running job and a waiting one", async (test) => {
      test.skip(!contract.isNewer);
      const clientId = uniqueName();
      const socket = await contract.client.connect(clientId);
      const running = await contract.client.submit(await contract.slowPrompt(), { client_id: clientId });
      await socket.until((frame) => frameName(frame) === "executing 2");
      const waiting = await contract.client.submit(picture(), { client_id: clientId });
      const listed = (await contract.client.get("/api/jobs?status=pending,in_progress")).json;
      const states = isJsonObject(listed) && Array.isArray(listed.jobs) ? listed.jobs : [];
      expect(states).toMatchObject([
        { id: waiting, status: "pending" },
        { id: running, status: "in_progress" },
      ]);

      expect((await contract.client.post(`/api/jobs/${waiting}/cancel`)).json).toEqual({ cancelled: true });
      expect((await contract.client.post("/api/jobs/cancel", { job_ids: [running] })).json).toEqual({
        cancelled: true,
      });
      await socket.untilEnd(running);
      expect((await contract.client.get(`/api/jobs/${running}`)).json).toMatchObject({ status: "cancelled" });
      expect((await contract.client.get(`/api/jobs/${waiting}`)).status).toBe(404);
      expect((await contract.client.post(`/api/jobs/${running}/cancel`)).json).toEqual({ cancelled: false });
    });
  });
}
