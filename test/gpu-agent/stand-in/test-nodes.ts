/** A handful of nodes small enough to see through, for tests of the server around them. */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Json, JsonObject } from "#contract/exact-json";
import {
  type Folders,
  type ImageBatch,
  type NodeContext,
  NodeError,
  type NodeImplementation,
} from "#gpu-agent/stand-in/node";
import type { NodeLibrary } from "#gpu-agent/stand-in/stand-in";
import { coreNodes } from "#workflow/core-nodes/all";
import type { NodeClass, ObjectInfo } from "#workflow/object-info";

function image(width: number, height: number, value: number): ImageBatch {
  return { batch: 1, width, height, channels: 3, data: new Float32Array(width * height * 3).fill(value) };
}

/** Writes `prefix_00001_.txt`, counting up, and shows it like a saved picture. */
function save(context: NodeContext, prefix: string, type: "output" | "temp", text: string): JsonObject {
  const folder = context.folders[type];
  mkdirSync(folder, { recursive: true });
  const taken = readdirSync(folder).filter((name) => name.startsWith(`${prefix}_`)).length;
  const filename = `${prefix}_${String(taken + 1).padStart(5, "0")}_.txt`;
  writeFileSync(path.join(folder, filename), text);
  return { images: [{ filename, subfolder: "", type }] };
}

/** How often each class ran, for tests of the cache. */
export class RunCounter {
  readonly counts = new Map<string, number>();
  count(className: string): void {
    this.counts.set(className, (this.counts.get(className) ?? 0) + 1);
  }
}

function classOf(name: string, input: NodeClass["input"], output: string[], extra: Partial<NodeClass> = {}): NodeClass {
  return {
    input,
    output,
    output_is_list: output.map(() => false),
    output_name: output,
    name,
    display_name: name,
    description: "",
    python_module: "test",
    category: "test",
    output_node: false,
    ...extra,
  };
}

const SPECS: ObjectInfo = {
  SlowPass: classOf(
    "SlowPass",
    {
      required: {
        image: ["IMAGE"],
        steps: ["INT", { default: 4 }],
        ms: ["INT", { default: 60 }],
        mode: [["ok", "raise", "oom", "sysexit"], {}],
        preview: ["BOOLEAN", {}],
      },
    },
    ["IMAGE"],
  ),
  Pick: classOf(
    "Pick",
    { required: { first: ["BOOLEAN", {}] }, optional: { a: ["IMAGE", { lazy: true }], b: ["IMAGE", { lazy: true }] } },
    ["IMAGE"],
  ),
  Numbers: classOf("Numbers", { required: { count: ["INT", { min: 0 }] } }, ["INT"], { output_is_list: [true] }),
  Double: classOf("Double", { required: { value: ["INT", {}] } }, ["INT"]),
  ShowNumbers: classOf("ShowNumbers", { required: { value: ["INT", {}] } }, [], { output_node: true }),
  Texts: classOf(
    "Texts",
    {
      required: {
        text: ["STRING", {}],
        amount: ["FLOAT", { min: 0, max: 2 }],
        flag: ["BOOLEAN", {}],
        choice: ["COMBO", { options: ["one", "two"] }],
        big: ["INT", { min: 0, max: 18446744073709551615n }],
      },
    },
    [],
    { output_node: true, api_node: false } as Partial<NodeClass>,
  ),
  IdAware: classOf("IdAware", { required: { value: ["INT", {}] }, hidden: { id: "UNIQUE_ID" } }, ["INT"]),
};

function runs(counter: RunCounter): Record<string, NodeImplementation> {
  return {
    EmptyImage: {
      run: ({ width, height, color }) => ({ outputs: [image(Number(width), Number(height), Number(color) / 255)] }),
    },
    ImageInvert: { run: ({ image: given }) => ({ outputs: [given] }) },
    ImageScale: { run: ({ image: given }) => ({ outputs: [given] }) },
    ImageBlend: { run: ({ image1 }) => ({ outputs: [image1] }) },
    SolidMask: { run: () => ({ outputs: [image(8, 8, 1)] }) },
    CheckpointLoaderSimple: { run: () => ({ outputs: ["model", "clip", "vae"] }) },
    EmptyLatentImage: { run: () => ({ outputs: ["latent"] }) },
    VAEDecode: { run: () => ({ outputs: [image(8, 8, 0)] }) },
    LoadImage: {
      validate: {
        names: ["image"],
        check: ({ image: name }, folders: Folders) =>
          readdirSync(folders.input).includes(String(name)) ? true : `Invalid image file: ${String(name)}`,
      },
      fingerprint: ({ image: name }, folders) =>
        createHash("sha256")
          .update(readFileSync(path.join(folders.input, String(name))))
          .digest("hex"),
      run: ({ image: name }, { folders }) => {
        readFileSync(path.join(folders.input, String(name)));
        return { outputs: [image(8, 8, 0.5), image(8, 8, 1)] };
      },
    },
    SaveImage: {
      run: ({ filename_prefix: prefix }, context) => {
        if (String(prefix).includes(".."))
          throw new NodeError("Exception", "**** ERROR: Saving image outside the output folder is not allowed.");
        return { outputs: [], ui: save(context, String(prefix), "output", JSON.stringify(context.metadata)) };
      },
    },
    PreviewImage: {
      run: (_inputs, context) => ({ outputs: [], ui: save(context, "ComfyUI_temp_abcde", "temp", "preview") }),
    },
    PreviewAny: { run: ({ source }) => ({ outputs: [], ui: { text: [String(source)] } }) },
    GetImageSize: {
      run: ({ image: given }, context) => {
        const { width, height, batch } = given as ImageBatch;
        context.sendText(`width: ${width}, height: ${height}\n batch size: ${batch}`);
        return { outputs: [width, height, batch] };
      },
    },
    SlowPass: {
      run: async ({ image: given, steps, ms, mode, preview }, context) => {
        for (let step = 1; step <= Number(steps); step += 1) {
          await context.sleep(Number(ms));
          if (mode === "oom")
            throw new NodeError("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.");
          await context.progress(step, Number(steps), preview === true ? (given as ImageBatch) : undefined);
          if (mode === "raise") throw new NodeError("RuntimeError", `boom at step ${step}`);
        }
        return { outputs: [given] };
      },
    },
    Pick: {
      lazy: ["a", "b"],
      lazyInputsNeeded: ({ first }) => [first === true ? "a" : "b"],
      run: ({ first, a, b }) => ({ outputs: [first === true ? a : b] }),
    },
    Numbers: { run: ({ count }) => ({ outputs: [Array.from({ length: Number(count) }, (_, index) => index)] }) },
    Double: { run: ({ value }) => ({ outputs: [Number(value) * 2] }) },
    ShowNumbers: { run: ({ value }) => ({ outputs: [], ui: { numbers: [value as Json] } }) },
    Texts: {
      run: (inputs) => ({ outputs: [], ui: { seen: [Object.fromEntries(Object.entries(inputs)) as JsonObject] } }),
    },
    IdAware: {
      run: ({ value }) => {
        counter.count("IdAware");
        return { outputs: [value] };
      },
    },
  };
}

/** The nodes with a counter of their runs. */
export function testLibrary(counter = new RunCounter()): NodeLibrary {
  const implementations = Object.fromEntries(
    Object.entries(runs(counter)).map(([name, implementation]): [string, NodeImplementation] => [
      name,
      {
        ...implementation,
        run: (inputs, context) => {
          if (name !== "IdAware") counter.count(name);
          return implementation.run(inputs, context);
        },
      },
    ]),
  );
  return { specs: { ...coreNodes, ...SPECS }, implementations, models: { checkpoints: ["simulated.safetensors"] } };
}
