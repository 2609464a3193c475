/** What passes the edge is taken by the server: values of every type, and files of every format. */
import fc from "fast-check";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { InputSpec } from "#contract/workflow";
import { bmp, wav } from "#test/worker/pictures";
import { FileCheck } from "#worker/inputs/check-file";
import { fillGraph } from "#workflow/fill-graph";
import { importWorkflow } from "#workflow/import-workflow";
import type { ObjectInfo } from "#workflow/object-info";
import { validateInputs } from "#workflow/validate-inputs";
import { type Contract, emptyImage, uniqueName } from "./servers.ts";

/** Values that go through a whole server each; the importer and the validation alone have tests with thousands. */
const RUNS = 40;
const FILE_ID = "file_0dpx4n3m8k7q2wz6tgr1vyc5ha";

/** Cheap nodes that take every type of value between them. */
function everyType(): JsonObject {
  const preview = (source: string): JsonObject => ({ class_type: "PreviewAny", inputs: { source: [source, 0] } });
  return {
    base: { class_type: "EmptyImage", inputs: { width: 16, height: 16, batch_size: 1, color: 255 } },
    photo: { class_type: "LoadImage", inputs: { image: "example.png" } },
    scaled: {
      class_type: "ImageScale",
      inputs: { image: ["photo", 0], upscale_method: "area", width: 16, height: 16, crop: "disabled" },
    },
    noise: { class_type: "ImageAddNoise", inputs: { image: ["scaled", 0], seed: 1, strength: 0.5 } },
    blend: {
      class_type: "ImageBlend",
      inputs: { image1: ["base", 0], image2: ["noise", 0], blend_factor: 0.5, blend_mode: "normal" },
    },
    blur: { class_type: "ImageBlur", inputs: { image: ["blend", 0], blur_radius: 1, sigma: 1 } },
    saved: { class_type: "SaveImage", inputs: { images: ["blur", 0], filename_prefix: uniqueName() } },
    whole: { class_type: "PrimitiveInt", inputs: { value: 5 } },
    real: { class_type: "PrimitiveFloat", inputs: { value: 0.5 } },
    flag: { class_type: "PrimitiveBoolean", inputs: { value: true } },
    line: { class_type: "PrimitiveString", inputs: { value: "a line" } },
    text: { class_type: "PrimitiveStringMultiline", inputs: { value: "a\ntext" } },
    ...Object.fromEntries(["whole", "real", "flag", "line", "text"].map((id) => [`show ${id}`, preview(id)])),
  };
}

const FIELDS = [
  ["base", "color"],
  ["photo", "image"],
  ["scaled", "upscale_method"],
  ["scaled", "crop"],
  ["noise", "seed"],
  ["noise", "strength"],
  ["blend", "blend_factor"],
  ["blend", "blend_mode"],
  ["blur", "blur_radius"],
  ["blur", "sigma"],
  ["whole", "value"],
  ["real", "value"],
  ["flag", "value"],
  ["line", "value"],
  ["text", "value"],
] as const;

/** A form that makes an input of each of these fields, by its place. */
function formOf(fields: readonly (readonly [string, string])[]): JsonObject {
  const inputs = fields.map(([node, field]) => ({
    title: `${node} ${field}`,
    workflowPath: [node, "inputs", field],
    ...(node === "photo" ? { valueType: "image" } : {}),
    key: `${node}-inputs-${field}`,
  }));
  return { workflows: [{ viewComfyJSON: { title: "", inputs: [{ title: "", inputs }], advancedInputs: [] } }] };
}

/** Values that an input takes, those at its bounds among them. */
function fitting(input: InputSpec): fc.Arbitrary<Json> {
  switch (input.type) {
    case "integer": {
      const [least, most] = [BigInt(input.minimum ?? -(2n ** 63n)), BigInt(input.maximum ?? 2n ** 63n - 1n)];
      const number = fc.oneof(fc.constantFrom(least, most), fc.bigInt(least, most));
      return number.map((value) => (Number.isSafeInteger(Number(value)) ? Number(value) : value));
    }
    case "number": {
      const [min, max] = [Number(input.minimum ?? -1e300), Number(input.maximum ?? 1e300)];
      return fc.oneof(fc.constantFrom(min, max), fc.double({ min, max, noNaN: true }));
    }
    case "string":
      return fc
        .oneof(fc.string({ unit: "binary", maxLength: 200 }), fc.constantFrom("", "False", "{a|b}", "a".repeat(9_999)))
        .map((value) => value.replaceAll("\u0000", ""));
    case "boolean":
      return fc.boolean();
    case "choice":
      return fc.constantFrom(...input.choices);
    case "file":
      return fc.constant(FILE_ID);
    default:
      throw new Error(`unhandled: ${JSON.stringify(input satisfies never)}`);
  }
}

/** Values that look as if an input might take them. */
const ODD_VALUES: readonly Json[] = [
  ...[0, -1, 1.5, 1e300, 2 ** 53, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n, -(2n ** 63n), 10n ** 400n],
  ...["", "5", "true", "nearest", "bicubic ", "NORMAL", "../../a.png", "a.png [output]", "\ud800", "a\u0000b"],
  ...[true, false, [], ["base", 0], { __value__: ["area"] }, {}],
];

export function acceptedValueTests(contract: Contract): void {
  describe("what passes the edge", () => {
    const upload = async (bytes: Uint8Array, name: string): Promise<void> => {
      const data = new FormData();
      data.set("image", new File([new Uint8Array(bytes)], name));
      data.set("overwrite", "true");
      expect((await contract.client.post("/upload/image", data)).status).toBe(200);
    };
    const nodeInfo = async (): Promise<ObjectInfo> => {
      const { json } = await contract.client.get("/object_info");
      if (!isJsonObject(json)) throw new Error("the server has no /object_info");
      return json as unknown as ObjectInfo;
    };
    const endpoint = async () => {
      const options = { objectInfo: await nodeInfo(), viewComfy: formOf(FIELDS) };
      const graph = everyType();
      const imported = await importWorkflow({ text: JSON.stringify(graph) }, options);
      if (!imported.ok) throw new Error(imported.detail);
      return { graph, inputs: imported.workflow.inputs };
    };

    it("is every type of value, of which the server takes all", async () => {
      await upload(
        await sharp({ create: { width: 20, height: 10, channels: 3, background: "red" } })
          .png()
          .toBuffer(),
        "contract.png",
      );
      const { graph, inputs } = await endpoint();
      expect(inputs).toHaveLength(FIELDS.length);
      expect([...new Set(inputs.map(({ type }) => type))].sort()).toEqual([
        "boolean",
        "choice",
        "file",
        "integer",
        "number",
        "string",
      ]);
      const fit = fc.record(Object.fromEntries(inputs.map((input) => [input.name, fitting(input)])));
      const odd = fc.tuple(fc.constantFrom(...inputs.map(({ name }) => name)), fc.constantFrom(...ODD_VALUES));
      let taken = 0;
      const submit = async (values: JsonObject): Promise<void> => {
        const valid = validateInputs(inputs, values, { randomSeed: () => 7 });
        if (!valid.ok) return;
        const photo = inputs.find(({ type }) => type === "file")?.name ?? "";
        const filled = fillGraph({
          graph,
          inputs,
          values: valid.values,
          files: { [photo]: "contract.png" },
          filenamePrefix: (_node, prefix) => prefix,
        });
        const { status, json } = await contract.client.post("/prompt", { prompt: filled });
        expect({ status, json }).toMatchObject({ status: 200, json: { node_errors: {} } });
        taken += 1;
      };
      await fc.assert(
        fc.asyncProperty(fit, odd, async (values, [name, value]) => {
          const before = taken;
          await submit(values as JsonObject);
          expect(taken).toBe(before + 1);
          await submit({ ...values, [name]: value } as JsonObject);
        }),
        { numRuns: RUNS },
      );
      // Those that still wait would take half a minute; what ran has left a server that works.
      await contract.client.post("/queue", { clear: true });
      const id = await contract.client.submit({
        "1": emptyImage(),
        "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      });
      expect(await contract.client.finished(id)).toMatchObject({ status: { status_str: "success" } });
    });

    const picture = (width = 40, height = 20) =>
      sharp(Buffer.from(Array.from({ length: width * height * 4 }, (_, index) => (index * 37) & 0xff)), {
        raw: { width, height, channels: 4 },
      });
    const pages = (count: number) =>
      sharp(Buffer.from(Array.from({ length: 40 * 20 * count * 3 }, (_, index) => (index * 31) & 0xff)), {
        raw: { width: 40, height: 20 * count, channels: 3, pageHeight: 20 },
      });
    const files: readonly (readonly [string, string, () => Promise<Uint8Array>])[] = [
      ["png", "image/png", () => picture().png().toBuffer()],
      ["png of a palette", "image/png", () => picture().png({ palette: true, colours: 9 }).toBuffer()],
      [
        "png of 16 bits, interlaced",
        "image/png",
        () => picture().toColourspace("rgb16").png({ progressive: true }).toBuffer(),
      ],
      [
        "png of grey, filtered",
        "image/png",
        () => picture(301, 7).greyscale().png({ adaptiveFiltering: true }).toBuffer(),
      ],
      ["jpeg", "image/jpeg", () => picture().jpeg().toBuffer()],
      [
        "jpeg, progressive, with a profile",
        "image/jpeg",
        () => picture(300, 200).withIccProfile("p3").jpeg({ progressive: true }).toBuffer(),
      ],
      ["webp", "image/webp", () => picture().webp().toBuffer()],
      ["webp without loss", "image/webp", () => picture().webp({ lossless: true }).toBuffer()],
      ["webp, animated", "image/webp", () => pages(3).webp({ loop: 0 }).toBuffer()],
      ["gif", "image/gif", () => picture().gif().toBuffer()],
      ["gif, animated", "image/gif", () => pages(3).gif().toBuffer()],
      ["bmp", "image/bmp", async () => bmp(41, 20)],
    ];
    it.each(files)("is a picture that LoadImage opens: %s", async (name, type, make) => {
      const bytes = new Uint8Array(await make());
      const check = new FileCheck("application/octet-stream");
      check.push(bytes);
      check.end();
      expect(check.contentType).toBe(type);
      const filename = `${uniqueName()}.${name.split(/[ ,]/)[0] ?? ""}`;
      await upload(bytes, filename);
      const id = await contract.client.submit({
        "1": { class_type: "LoadImage", inputs: { image: filename } },
        "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      });
      expect(await contract.client.finished(id)).toMatchObject({ status: { status_str: "success" } });
    });

    it("is what the server itself saves: sound and films", async () => {
      const sound = `${uniqueName()}.wav`;
      await upload(wav(4_410), sound);
      const id = await contract.client.submit({
        "1": { class_type: "LoadAudio", inputs: { audio: sound } },
        "2": { class_type: "SaveAudio", inputs: { audio: ["1", 0], filename_prefix: uniqueName() } },
        "3": emptyImage(64, 64),
        "4": { class_type: "CreateVideo", inputs: { images: ["3", 0], fps: 8 } },
        "5": {
          class_type: "SaveVideo",
          inputs: { video: ["4", 0], filename_prefix: uniqueName(), format: "mp4", codec: "h264" },
        },
      });
      const { status, outputs } = await contract.client.finished(id);
      expect(status).toMatchObject({ status_str: "success" });
      const saved = Object.values(isJsonObject(outputs) ? outputs : {})
        .flatMap((output) => (isJsonObject(output) ? Object.values(output) : []))
        .flatMap((items) => (Array.isArray(items) ? items : []))
        .filter(isJsonObject);
      const types: string[] = [];
      for (const { filename, subfolder, type } of saved) {
        const query = new URLSearchParams({
          filename: String(filename),
          subfolder: String(subfolder),
          type: String(type),
        });
        const answer = await fetch(`${contract.client.base}/view?${query}`);
        const check = new FileCheck("application/octet-stream");
        check.push(new Uint8Array(await answer.arrayBuffer()));
        check.end();
        types.push(check.contentType);
      }
      expect(types.sort()).toEqual(["audio/flac", "video/mp4"]);
    });
  });
}
