import { afterEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { AgentHarness, fileInput, integerInput, output, pictureGraph } from "#test/gpu-agent/agent-harness";

const Executions = z.array(z.object({ prompt_id: z.string() }));

let harness: AgentHarness;
afterEach(() => harness.close());

const place = (event: string) => harness.lines.findIndex((line) => line.event === event);
const fieldsOf = (event: string) => harness.lines[place(event)]?.fields;

async function executions(): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${harness.comfyReady.port}/stand-in/executions`);
  return Executions.parse(await answer.json()).length;
}

describe("before a replica is ready", () => {
  it("its graph has run once, and has left nothing where jobs are", async () => {
    harness = await AgentHarness.start();
    const specs = { inputs: [integerInput("width", "1", "width")], outputs: [output("image", "2")] };
    const { endpointId, replicaId } = await harness.ready(pictureGraph, specs);
    expect(fieldsOf("warmed_up")).toMatchObject({ ms: expect.any(Number) });
    const before = await executions();
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { inputs: { width: 17 } }), "succeeded");
    expect((await executions()) - before).toBe(1);
    // Its file is the first of its name.
    expect(job.outputs.map(({ filename }) => filename)).toEqual(["ComfyUI_00001_.png"]);
    const phases = harness.plane.state.replicas.get(replicaId)?.reports.find((each) => each.state === "ready")?.phases;
    expect(phases?.at(-1)?.phase).toBe("warm_up");
  });

  it("a graph that fails is left to its jobs", async () => {
    harness = await AgentHarness.start();
    const failing = {
      ...pictureGraph,
      "3": { class_type: "PrimitiveString", inputs: { value: "__fail__" } },
      "4": { class_type: "PreviewAny", inputs: { source: ["3", 0] } },
    };
    const { endpointId } = await harness.ready(failing, { outputs: [output("image", "2")] });
    expect(fieldsOf("warm_up_failed")).toMatchObject({ code: "execution_error" });
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "failed");
    expect(job.errors.map(({ code }) => code)).toEqual(["execution_error"]);
  });

  it("a graph that takes too long is stopped, and the first job finds a free ComfyUI", async () => {
    harness = await AgentHarness.start({ timings: { warmUpMs: 300 } });
    const slow = {
      ...pictureGraph,
      "3": { class_type: "PrimitiveString", inputs: { value: "__slow__" } },
      "4": { class_type: "PreviewAny", inputs: { source: ["3", 0] } },
    };
    const { endpointId } = await harness.ready(slow, { outputs: [output("image", "2")] });
    expect(fieldsOf("warm_up_failed")).toMatchObject({ code: "execution_timeout" });
    await harness.faults({ slow_marker_ms: 10 });
    await harness.jobIs(harness.plane.state.enqueue(endpointId, {}), "succeeded");
  });

  it("a graph that needs a caller's file is not run", async () => {
    harness = await AgentHarness.start();
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "ComfyUI" } },
    };
    await harness.ready(graph, { inputs: [fileInput("image", "1", "image")], outputs: [output("image", "2")] });
    expect(fieldsOf("warm_up_skipped")).toEqual(expect.objectContaining({ reason: "it needs a caller's file" }));
  });
});
