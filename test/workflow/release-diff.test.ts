import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import type { InputSpec, OutputSpec } from "#contract/workflow";
import { type DiffedRelease, releaseDiff } from "#workflow/release-diff";

const input = (name: string, more: { default?: number | bigint; minimum?: number } = {}): InputSpec => ({
  name,
  title: name,
  type: "integer",
  seed: false,
  required: false,
  advanced: false,
  targets: [{ node: "1", field: name }],
  ...more,
});
const output = (name: string, node = "9"): OutputSpec => ({ name, title: name, node, kind: "image", temporary: false });
const release = (number: number, more: Partial<DiffedRelease> = {}): DiffedRelease => ({
  number,
  digest: `digest ${number}`,
  graph: {},
  inputs: [],
  outputs: [],
  classes: [],
  build: null,
  ...more,
});
const node = (class_type: string, inputs: JsonObject, title?: string): JsonObject => ({
  class_type,
  inputs,
  ...(title === undefined ? {} : { _meta: { title } }),
});

describe("the diff of two releases", () => {
  it("tells inputs that came, went and changed, whole numbers beyond 2^53 exactly", () => {
    const from = release(1, { inputs: [input("a", { default: 2n ** 63n }), input("gone"), input("same")] });
    const to = release(2, {
      inputs: [input("same"), input("new"), input("a", { default: 2n ** 63n + 1n, minimum: 0 })],
    });
    const { inputs } = releaseDiff(from, to);
    expect(inputs.added.map(({ name }) => name)).toEqual(["new"]);
    expect(inputs.removed.map(({ name }) => name)).toEqual(["gone"]);
    expect(inputs.changed).toEqual([
      {
        name: "a",
        fields: [
          { field: "default", from: 2n ** 63n, to: 2n ** 63n + 1n },
          { field: "minimum", to: 0 },
        ],
      },
    ]);
  });

  it("tells a node's class, title and values apart", () => {
    const from = release(1, {
      graph: { "1": node("Old", { a: 1, b: ["2", 0] }, "First"), "2": node("Kept", { list: { y: 1, x: [1] } }) },
    });
    const to = release(2, {
      graph: {
        "1": node("New", { a: 1, c: "text" }),
        "2": node("Kept", { list: { x: [1], y: 1 } }),
        "3": node("More", {}),
      },
    });
    expect(releaseDiff(from, to).nodes).toEqual({
      added: [{ node: "3", class_type: "More" }],
      removed: [],
      changed: [
        {
          node: "1",
          class_type: "New",
          fields: [
            { field: "class_type", from: "Old", to: "New" },
            { field: "title", from: "First" },
            { field: "inputs.c", to: "text" },
            { field: "inputs.b", from: ["2", 0] },
          ],
        },
      ],
    });
  });

  it("names outputs, classes and model files with their folders", () => {
    const loader = (file: string) => ({ "4": node("CheckpointLoaderSimple", { ckpt_name: file }) });
    const from = release(1, { graph: loader("one.safetensors"), outputs: [output("image")], classes: ["A", "B"] });
    const to = release(2, { graph: loader("two.safetensors"), outputs: [output("image", "8")], classes: ["B", "C"] });
    expect(releaseDiff(from, to)).toMatchObject({
      same: false,
      outputs: {
        added: [],
        removed: [],
        changed: [{ name: "image", fields: [{ field: "node", from: "9", to: "8" }] }],
      },
      classes: { added: ["C"], removed: ["A"] },
      models: { added: ["checkpoints/two.safetensors"], removed: ["checkpoints/one.safetensors"] },
    });
  });

  const graphs = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 3 }),
    fc.record({
      class_type: fc.constantFrom("A", "B"),
      inputs: fc.dictionary(fc.constantFrom("x", "y", "__proto__"), fc.jsonValue()),
    }),
    { maxKeys: 6 },
  );
  it("is empty for a release and itself, and its own mirror image the other way round", () => {
    fc.assert(
      fc.property(graphs, graphs, (one, other) => {
        const [from, to] = [release(1, { graph: one as JsonObject }), release(2, { graph: other as JsonObject })];
        const empty = { added: [], removed: [], changed: [] };
        expect(releaseDiff(from, structuredClone(from)).nodes).toEqual(empty);
        const [there, back] = [releaseDiff(from, to).nodes, releaseDiff(to, from).nodes];
        expect(back.added).toEqual(there.removed);
        expect(back.removed).toEqual(there.added);
        expect(new Set(back.changed.map((each) => each.node))).toEqual(new Set(there.changed.map((each) => each.node)));
      }),
    );
  });
});
