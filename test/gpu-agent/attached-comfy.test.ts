import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentHarness, fileInput, output } from "#test/gpu-agent/agent-harness";
import { FakeComfy } from "#test/gpu-agent/fake-comfy";
import { comesTrue } from "#test/gpu-agent/quick-timings";

let comfy: FakeComfy;
let harness: AgentHarness;

const graph = {
  "1": { class_type: "LoadImage", inputs: { image: "x.png" } },
  "2": { class_type: "SaveThings", inputs: { images: ["1", 0], filename_prefix: "p" } },
};
const specs = { inputs: [fileInput("image", "1", "image")], outputs: [output("image", "2")] };

beforeEach(async () => {
  comfy = await FakeComfy.start();
  harness = await AgentHarness.start({
    comfy: { kind: "attach", urls: [comfy.url] },
    settings: { putBytesMax: 1_000, partBytes: 400 },
    plane: { partBytesMin: 400 },
    timings: { unreachableMs: 2_000, interruptMs: 300, hangMs: 3_000 },
  });
});
afterEach(async () => {
  await harness.close();
  await comfy.stop();
});

/** Where the latest prompt saves, without its node's own folder. */
function leaseFolderOf(from: FakeComfy): string {
  const prompt = from.prompts.at(-1)?.body.prompt as
    | Record<string, { inputs: { filename_prefix: string } }>
    | undefined;
  const folder = /^(jobs\/job_[0-9a-z]+\/[0-9]+)\/2\/p$/.exec(prompt?.["2"]?.inputs.filename_prefix ?? "")?.[1];
  if (folder === undefined) throw new Error("the prompt saves somewhere else");
  return folder;
}

const files = [{ input: "image", filename: "ä photo.JPG", bytes: new Uint8Array([1, 2, 3]) }];
const promptCount = (count: number) => comesTrue("the prompt arrived", () => comfy.prompts.length === count);

describe("an attached ComfyUI", () => {
  it("gets input files by upload, under the hash of their content, and its own name for them goes into the graph", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    expect(comfy.uploads[0]?.body).toContain('filename="039058c6f2c0cb492c533b0a4d14ef77.jpg"');
    const prompt = comfy.prompts[0]?.body.prompt as Record<string, { inputs: Record<string, unknown> }>;
    const folder = leaseFolderOf(comfy);
    expect(prompt["1"]?.inputs.image).toBe(`${folder}/renamed 039058c6f2c0cb492c533b0a4d14ef77.jpg`);
    expect(prompt["2"]?.inputs.filename_prefix).toBe(`${folder}/2/p`);
    comfy.finish(comfy.prompts[0]?.id ?? "", { "2": { text: ["x"] } });
    await harness.jobIs(id, "succeeded");
  });

  it("keeps the files of two attempts apart: those of the first are deleted while the second one begins", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    const first = leaseFolderOf(comfy);
    comfy.fail(comfy.prompts[0]?.id ?? "", "execution_error", {
      exception_type: "torch.OutOfMemoryError",
      exception_message: "out of memory",
    });
    await promptCount(2);
    expect(leaseFolderOf(comfy)).not.toBe(first);
    comfy.finish(comfy.prompts[1]?.id ?? "", { "2": { text: ["x"] } });
    await harness.jobIs(id, "succeeded");
  });

  it("gives its outputs over HTTP: empty ones, large ones, strange names; nothing is left in between", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    const subfolder = `${leaseFolderOf(comfy)}/2`;
    const contents: [string, Buffer][] = [
      ["empty & odd #1.png", Buffer.alloc(0)],
      ["größe 写真.mp4", Buffer.alloc(1_500, 7)],
      ["same.png", Buffer.from("one")],
    ];
    for (const [name, bytes] of contents) comfy.files.set(`output/${subfolder}/${name}`, bytes);
    comfy.files.set("output/elsewhere/same.png", Buffer.from("two"));
    const items = contents.map(([filename]) => ({ filename, subfolder, type: "output" }));
    comfy.finish(comfy.prompts[0]?.id ?? "", {
      "2": { images: items, gifs: [{ filename: "same.png", subfolder: "elsewhere", type: "output" }] },
    });
    const job = await harness.jobIs(id, "succeeded");
    expect(job.outputs.map(({ name, filename, kind, size, parts }) => [name, filename, kind, size, parts])).toEqual([
      ["image.png", "empty & odd #1.png", "image", 0, 1],
      ["image.mp4", "größe 写真.mp4", "video", 1_500, 4],
      ["image_2.png", "same.png", "image", 3, 1],
      ["image_3.png", "same.png", "image", 3, 1],
    ]);
    expect(job.outputs.map((each) => each.bytes)).toEqual([...contents.map(([, bytes]) => bytes), Buffer.from("two")]);
    expect(readdirSync(join(harness.stateDirectory, "spool"))).toEqual([]);
    await comesTrue("its history is deleted", () => comfy.requests.some((each) => each.startsWith("POST /history")));
  });

  it("that names a file it does not have: the job has failed, and says which", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    comfy.onPrompt = (prompt, response) => {
      comfy.finish(prompt.id, { "2": { images: [{ filename: "gone.png", subfolder: "", type: "output" }] } });
      response.end('{"node_errors": {}}');
      return true;
    };
    comfy.finish(comfy.prompts[0]?.id ?? "", {
      "2": { images: [{ filename: "gone.png", subfolder: "", type: "output" }] },
    });
    const job = await harness.jobIs(id, "failed");
    expect(job.errors[0]).toMatchObject({ code: "output_failed", message: expect.stringContaining("gone.png") });
  });

  it("that is restarted during a job: the job runs again, by itself", async () => {
    const { endpointId, replicaId } = await harness.ready(graph, specs);
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    await comfy.stop();
    comfy.running = [];
    await comfy.listen();
    await promptCount(2);
    comfy.finish(comfy.prompts[1]?.id ?? "", { "2": { text: ["x"] } });
    const job = await harness.jobIs(id, "succeeded");
    expect(job.errors.map((error) => error.code)).toEqual(["replica_failed"]);
    expect(harness.stateOf(replicaId)).toBe("ready");
  });

  it("that runs somebody else's prompt is waited for", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    comfy.running = ["somebody else's"];
    comfy.onPrompt = (prompt, response) => {
      comfy.pending.push(prompt.id);
      response.end('{"node_errors": {}}');
      return true;
    };
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    comfy.running = [comfy.prompts[0]?.id ?? ""];
    comfy.pending = [];
    comfy.finish(comfy.prompts[0]?.id ?? "", { "2": { text: ["x"] } });
    expect((await harness.jobIs(id, "succeeded")).attempts).toBe(1);
  });

  it("that does not let go of a canceled prompt takes no further job: the replica has crashed, and says why", async () => {
    const { endpointId, replicaId } = await harness.ready(graph, specs);
    comfy.onStop = () => undefined;
    const id = harness.plane.state.enqueue(endpointId, { files });
    await promptCount(1);
    harness.plane.state.cancel(id);
    await comesTrue("it has crashed", () => harness.stateOf(replicaId) === "crashed");
    expect(harness.plane.state.replicas.get(replicaId)?.reports.at(-1)?.error).toContain("does not let go");
  });
});

describe("input files", () => {
  it("whose bytes are not the promised ones never reach ComfyUI", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    harness.plane.alterInputs = true;
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { files }), "failed");
    expect(job.errors[0]).toMatchObject({ code: "input_failed", message: expect.stringContaining("image") });
    expect(comfy.uploads).toEqual([]);
  });

  it("that the server no longer has fail the job, and do not look like a lost lease", async () => {
    const { endpointId } = await harness.ready(graph, specs);
    harness.plane.plan(/inputs\/0$/, { type: "refuse", code: "file_not_found" }, 10);
    const job = await harness.jobIs(harness.plane.state.enqueue(endpointId, { files }), "failed");
    expect(job.errors[0]?.code).toBe("input_failed");
  });
});
