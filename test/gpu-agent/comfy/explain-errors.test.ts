import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isJsonObject, type JsonObject, parseExactJson } from "#contract/exact-json";
import { explainExecutionError, explainRefusal } from "#gpu-agent/comfy/explain-errors";

const asIs = (text: string) => text;
const refusal = (nodeErrors: JsonObject) =>
  explainRefusal(
    {
      error: { type: "prompt_outputs_failed_validation", message: "Prompt outputs failed validation", details: "" },
      node_errors: nodeErrors,
    },
    asIs,
  ).jobError;

describe("a graph that ComfyUI refuses", () => {
  it.each([
    [
      "older",
      { type: "invalid_prompt", message: "Cannot execute because node Foo does not exist.", details: "Node ID '#3'" },
    ],
    [
      "newer",
      { type: "missing_node_type", message: "Node 'Foo' not found.", extra_info: { node_id: "3", class_type: "Foo" } },
    ],
  ])("lacks a class (%s servers)", (_, error) => {
    expect(explainRefusal({ error, node_errors: {} }, asIs).jobError).toMatchObject({
      code: "missing_node",
      class_type: "Foo",
    });
  });

  it("lacks a model, told by the loader's input", () => {
    const fault = {
      type: "value_not_in_list",
      message: "Value not in list",
      details: "ckpt_name: 'x.safetensors' not in ['a', 'b']",
      extra_info: { input_name: "ckpt_name", received_value: "x.safetensors" },
    };
    const error = refusal({ "4": { errors: [fault], class_type: "CheckpointLoaderSimple", dependent_outputs: ["9"] } });
    expect(error).toEqual({
      code: "missing_model",
      message: 'Node 4 (CheckpointLoaderSimple): the model "x.safetensors" for ckpt_name is not on this machine.',
      node_id: "4",
      class_type: "CheckpointLoaderSimple",
    });
  });

  it("has a value that no list of models is about", () => {
    const fault = {
      type: "value_not_in_list",
      message: "Value not in list",
      details: "sampler_name: 'x' not in [...]",
      extra_info: { input_name: "sampler_name", received_value: "x" },
    };
    expect(refusal({ "4": { errors: [fault], class_type: "KSampler" } })).toMatchObject({
      code: "invalid_workflow",
      message: "Node 4 (KSampler): Value not in list: sampler_name: 'x' not in [...].",
    });
  });

  it("says something even when ComfyUI gives no reason", () => {
    expect(
      explainRefusal({ error: { type: "x", message: "", details: "" }, node_errors: {} }, asIs).jobError.message,
    ).not.toBe("");
    expect(explainRefusal(null, asIs).jobError.code).toBe("invalid_workflow");
    expect(explainRefusal("<html>", asIs).jobError.code).toBe("invalid_workflow");
  });

  it("has many faults, of which the first few are shown", () => {
    const fault = { type: "required_input_missing", message: "Required input is missing", details: "images" };
    const nodes = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [String(index), { errors: [fault] }]));
    const { message } = refusal(nodes);
    expect(message).toContain("And 25 more.");
    expect(message.length).toBeLessThanOrEqual(1_000);
  });
});

describe("a node that fails", () => {
  const failed = (exception_type: string, exception_message: string) =>
    explainExecutionError({ node_id: "3", node_type: "KSampler", exception_type, exception_message }, asIs);

  it.each([
    ["torch.OutOfMemoryError", "Allocation on device 0", "out_of_memory", "healthy"],
    ["torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "out_of_memory", "healthy"],
    ["RuntimeError", "HIP out of memory", "out_of_memory", "healthy"],
    [
      "RuntimeError",
      "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
      "out_of_memory",
      "healthy",
    ],
    ["RuntimeError", "CUDA error: an illegal memory access was encountered", "replica_failed", "restart"],
    ["torch.AcceleratorError", "CUDA error: unspecified launch failure", "replica_failed", "restart"],
    ["OSError", "[Errno 28] No space left on device", "output_failed", "healthy"],
    ["ValueError", "bad value", "execution_error", "healthy"],
  ] as const)("with %s: %s", (type, message, code, comfy) => {
    const failure = failed(type, message);
    expect(failure.jobError.code).toBe(code);
    expect(failure.jobError.message).toContain("Node 3 (KSampler): ");
    expect(failure.comfy).toBe(comfy);
  });

  it("shows the type where there is no message, and no more than fits", () => {
    expect(failed("KeyError", "").jobError.message).toBe("Node 3 (KSampler): KeyError");
    expect(failed("ValueError", "x".repeat(5_000)).jobError.message.length).toBe(1_000);
  });

  it("is shown without what belongs to the machine", () => {
    const data = { exception_type: "ValueError", exception_message: "in /home/me" };
    expect(explainExecutionError(data, (text) => text.replace("/home/me", "~")).jobError.message).toBe("in ~");
  });
});

const recordings = "../shared/comfyui/transcripts/prompt_validation_errors.json";
describe.skipIf(!existsSync(recordings))("recorded refusals of a real ComfyUI", () => {
  it("all get a code and a sentence", () => {
    const recorded = parseExactJson(readFileSync(recordings, "utf8"), { depthMax: 200, pythonNumbers: true });
    let seen = 0;
    const visit = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(visit);
      if (!isJsonObject(value)) return;
      if (isJsonObject(value.error) && "node_errors" in value) {
        seen += 1;
        const { code, message } = explainRefusal(value, asIs).jobError;
        expect(["missing_node", "missing_model", "invalid_workflow"]).toContain(code);
        expect(message.length).toBeGreaterThan(10);
      }
      Object.values(value).forEach(visit);
    };
    visit(recorded);
    expect(seen).toBeGreaterThan(5);
  });
});
