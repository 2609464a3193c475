/** Submitting prompts, and being refused. */
import { randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { type Contract, emptyImage, picture } from "./servers.ts";

/** Node errors without what differs between machines. */
function nodeErrors(answer: Json): JsonObject {
  const errors = isJsonObject(answer) && isJsonObject(answer.node_errors) ? answer.node_errors : {};
  return errors;
}

function errorsOf(answer: Json, id: string): JsonObject[] {
  const node = nodeErrors(answer)[id];
  const errors = isJsonObject(node) && Array.isArray(node.errors) ? node.errors : [];
  return errors.filter(isJsonObject);
}

function typesOf(answer: Json, id: string): string[] {
  return errorsOf(answer, id)
    .map((error) => String(error.type))
    .sort();
}

function topError(answer: Json): JsonObject {
  return isJsonObject(answer) && isJsonObject(answer.error) ? answer.error : {};
}

export function submittingTests(contract: Contract): void {
  describe("submitting a prompt", () => {
    const submit = (body: unknown) => contract.client.post("/prompt", body);
    const withWidth = (width: Json) => {
      const prompt = picture();
      const node = emptyImage();
      if (isJsonObject(node.inputs)) node.inputs.width = width;
      return { prompt: { ...prompt, "1": node } };
    };

    it("answers with an id, a number and no errors", async () => {
      const { status, json, contentType } = await submit({ prompt: picture() });
      expect(status).toBe(200);
      expect(contentType).toBe("application/json; charset=utf-8");
      expect(json).toEqual({ prompt_id: expect.any(String), number: expect.any(Number), node_errors: {} });
    });

    it("counts refused prompts too", async () => {
      const numberOf = async () => {
        const { json } = await submit({ prompt: picture() });
        return isJsonObject(json) ? Number(json.number) : Number.NaN;
      };
      const first = await numberOf();
      await submit({ prompt: {} });
      expect(await numberOf()).toBe(first + 2);
    });

    it("takes a client's number, and negates its own for the front of the queue", async () => {
      expect((await submit({ prompt: picture(), number: -3.5 })).json).toMatchObject({ number: -3.5 });
      const { json } = await submit({ prompt: picture(), front: true });
      expect(isJsonObject(json) && Number(json.number)).toBeLessThan(0);
    });

    it("accepts a client's UUID as prompt id", async () => {
      const prompt_id = randomUUID();
      expect((await submit({ prompt: picture(), prompt_id })).json).toMatchObject({ prompt_id });
    });

    it("turns other ids into text, or refuses them in newer servers", async () => {
      const { status, json } = await submit({ prompt: picture(), prompt_id: 123 });
      if (contract.isNewer) {
        expect(status).toBe(400);
        expect(topError(json)).toMatchObject({ type: "invalid_prompt_id" });
      } else expect(json).toMatchObject({ prompt_id: "123" });
    });

    it.each([
      ["{}", 400, "no_prompt"],
      ["[1]", 400, "no_prompt"],
      ['{"prompt": {}}', 400, "prompt_no_outputs"],
      ['{"prompt": null}', 500, undefined],
      ["{oops", 500, undefined],
      ["", 500, undefined],
    ])("answers the body %j with %i", async (body, status, type) => {
      const answer = await contract.client.post("/prompt", body);
      expect(answer.status).toBe(status);
      if (type === undefined) {
        expect(answer.contentType).toBe("text/plain; charset=utf-8");
        expect(answer.text).toBe("500 Internal Server Error\n\nServer got itself in trouble");
      } else expect(topError(answer.json).type).toBe(type);
    });

    it("refuses a body beyond the upload limit", async () => {
      const { json } = await contract.client.get("/features");
      const limit = isJsonObject(json) ? Number(json.max_upload_size) : Number.NaN;
      const answer = await contract.client.post("/prompt", `{"prompt": "${"x".repeat(limit)}"}`);
      expect(answer.status).toBe(413);
      expect(answer.text).toContain(`Maximum request body size ${limit} exceeded.`);
    });

    it("names a class it does not have", async () => {
      const { status, json } = await submit({
        prompt: { "1": { class_type: "Nope", inputs: {}, _meta: { title: "Mine" } } },
      });
      expect(status).toBe(400);
      expect(topError(json)).toEqual(
        contract.isNewer
          ? {
              type: "missing_node_type",
              message: "Node 'Mine' not found. The custom node may not be installed.",
              details: "Node ID '#1'",
              extra_info: { node_id: "1", class_type: "Nope", node_title: "Mine" },
            }
          : {
              type: "invalid_prompt",
              message: "Cannot execute because node Nope does not exist.",
              details: "Node ID '#1'",
              extra_info: {},
            },
      );
    });

    it("refuses a prompt without output nodes", async () => {
      const { status, json } = await submit({ prompt: { "1": emptyImage() } });
      expect(status).toBe(400);
      expect(topError(json)).toEqual({
        type: "prompt_no_outputs",
        message: "Prompt has no outputs",
        details: "",
        extra_info: {},
      });
    });

    it("lists a missing input with the outputs that depend on it", async () => {
      const prompt = picture();
      prompt["1"] = { class_type: "EmptyImage", inputs: { height: 8, batch_size: 1, color: 1 } };
      const { status, json } = await submit({ prompt });
      expect(status).toBe(400);
      expect(topError(json)).toMatchObject({ type: "prompt_outputs_failed_validation", details: "" });
      expect(nodeErrors(json)).toEqual({
        "1": {
          errors: [
            {
              type: "required_input_missing",
              message: "Required input is missing",
              details: "width",
              extra_info: { input_name: "width" },
            },
          ],
          dependent_outputs: ["3"],
          class_type: "EmptyImage",
        },
      });
    });

    it.each([
      [0, "value_smaller_than_min", "Value 0 smaller than min of 1", "width"],
      [99_999, "value_bigger_than_max", "Value 99999 bigger than max of 16384", "width"],
      [
        "abc",
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
        "width, abc, invalid literal for int() with base 10: 'abc'",
      ],
      [
        null,
        "invalid_input_type",
        "Failed to convert an input value to a INT value",
        "width, None, int() argument must be a string, a bytes-like object or a real number, not 'NoneType'",
      ],
    ])("refuses the width %j", async (width, type, message, details) => {
      const { status, json } = await submit(withWidth(width));
      expect(status).toBe(400);
      expect(errorsOf(json, "1")).toMatchObject([{ type, message, details }]);
    });

    it.each(["64", 64.9, true])("converts the width %j and runs", async (width) => {
      expect((await submit(withWidth(width))).status).toBe(200);
    });

    it.each([
      [["1"], "2", "bad_linked_input"],
      [["99", 0], "2", "exception_during_inner_validation"],
      [["1", 5], "2", "exception_during_inner_validation"],
      [[1, 0], "2", "exception_during_inner_validation"],
    ])("refuses the link %j", async (image, id, type) => {
      const prompt = { ...picture(), "2": { class_type: "ImageInvert", inputs: { image } } };
      const { status, json } = await submit({ prompt });
      expect(status).toBe(400);
      expect(typesOf(json, id)).toEqual([type]);
    });

    it("refuses a link between different types", async () => {
      const prompt = {
        "1": { class_type: "SolidMask", inputs: { value: 1, width: 8, height: 8 } },
        "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
      };
      const { json } = await submit({ prompt });
      const details = "images, received_type(MASK) mismatch input_type(IMAGE)";
      expect(topError(json).details).toBe(`Return type mismatch between linked nodes: ${details}`);
      expect(errorsOf(json, "2")).toMatchObject([{ type: "return_type_mismatch", details }]);
    });

    it("refuses a picture that is not there, in the words of the node", async () => {
      const prompt = { ...picture(), "1": { class_type: "LoadImage", inputs: { image: "missing.png" } } };
      const { json } = await submit({ prompt });
      expect(errorsOf(json, "1")).toEqual([
        {
          type: "custom_validation_failed",
          message: "Custom validation failed for node",
          details: "image - Invalid image file: missing.png",
          extra_info: { input_name: "image" },
        },
      ]);
    });

    it("runs the outputs that can run and reports the others", async () => {
      const inputs = { image: ["1", 0], upscale_method: "wrong", width: 8, height: 8, crop: "disabled" };
      const prompt = {
        ...picture(),
        "4": { class_type: "ImageScale", inputs },
        "5": { class_type: "PreviewImage", inputs: { images: ["4", 0] } },
      };
      const { status, json } = await submit({ prompt });
      expect(status).toBe(200);
      expect(errorsOf(json, "4")).toMatchObject([
        {
          type: "value_not_in_list",
          details: "upscale_method: 'wrong' not in ['nearest-exact', 'bilinear', 'area', 'bicubic', 'lanczos']",
        },
      ]);
      const entry = await contract.client.finished(isJsonObject(json) ? String(json.prompt_id) : "");
      expect(Object.keys(isJsonObject(entry.outputs) ? entry.outputs : {})).toEqual(["3"]);
    });

    it("checks the choices of newer node classes only in newer servers", async () => {
      const inputs = { image1: ["1", 0], image2: ["1", 0], blend_factor: 0.5, blend_mode: "wrong" };
      const prompt = { ...picture(), "2": { class_type: "ImageBlend", inputs } };
      const { status, json } = await submit({ prompt });
      expect(status).toBe(contract.isNewer ? 400 : 200);
      expect(typesOf(json, "2")).toEqual(contract.isNewer ? ["value_not_in_list"] : []);
    });

    it("refuses a cycle", async () => {
      const prompt = {
        ...picture(),
        "1": { class_type: "ImageInvert", inputs: { image: ["2", 0] } },
      };
      const { status, json } = await submit({ prompt });
      expect(status).toBe(400);
      expect(topError(json)).toMatchObject({ type: "prompt_outputs_failed_validation", details: "" });
      const types = Object.keys(nodeErrors(json)).flatMap((id) => typesOf(json, id));
      expect(types).toEqual(contract.isNewer ? ["dependency_cycle", "dependency_cycle"] : []);
    });

    it("runs only the outputs that were asked for", async () => {
      const prompt = { ...picture(), "5": { class_type: "PreviewImage", inputs: { images: ["2", 0] } } };
      const id = await contract.client.submit(prompt, { partial_execution_targets: ["5"] });
      const entry = await contract.client.finished(id);
      expect(Object.keys(isJsonObject(entry.outputs) ? entry.outputs : {})).toEqual(["5"]);
      const nothing = await submit({ prompt, partial_execution_targets: ["77"] });
      expect(nothing.status).toBe(400);
      expect(topError(nothing.json).type).toBe("prompt_no_outputs");
    });
  });
}
