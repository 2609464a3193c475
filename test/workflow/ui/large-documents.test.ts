/** Documents made to cost more than they hold: each is refused by a bound, or converted at the cost of its size. */
import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "#contract/exact-json";
import { CONVERTED_LENGTH_MAX } from "#workflow/ui/convert-ui";
import { editorGraph } from "#workflow/ui/editor-graph";
import { EXPANDED_LENGTH_MAX } from "#workflow/ui/expand-subgraphs";
import { json, node, objectLink } from "./documents.ts";
import { lookup } from "./editor-graph.ts";

const SHELL = "0c0ffee0-0000-4000-8000-00000000000a";

function document(
  nodes: readonly JsonObject[],
  links: readonly Json[],
  more: Record<string, unknown> = {},
): JsonObject {
  return { ...json({ links, ...more }), nodes: [...nodes] };
}

function refusal(ui: JsonObject): { code: string; path: string | undefined; detail: string } {
  const found = editorGraph(ui, lookup);
  if (found.ok) throw new Error("was converted");
  return { code: found.code, path: found.errors?.[0]?.path, detail: found.detail };
}

const inside = (nodes: readonly JsonObject[], more: Record<string, unknown> = {}): JsonObject =>
  json({ id: SHELL, name: "Inside", inputs: [], outputs: [], links: [], ...more, nodes });
const copies = (count: number): JsonObject[] => Array.from({ length: count }, (_, index) => node(index + 1, SHELL));

describe("a document that is much more than it holds", () => {
  it("by copies of a long text is refused before they are made", () => {
    const text = "x".repeat(200_000);
    const definition = inside([node(1, "CLIPTextEncode", { widgets: [text] })]);
    const count = Math.ceil(EXPANDED_LENGTH_MAX / text.length) + 1;
    expect(refusal(document(copies(count), [], { definitions: { subgraphs: [definition] } }))).toMatchObject({
      code: "invalid_workflow",
      path: expect.stringMatching(/^\/workflow\/nodes\/\d+$/),
      detail: expect.stringContaining("fewer copies"),
    });
  });

  it("by copies of a node with thousands of values is refused before they are read", () => {
    const values = Array.from({ length: 9_000 }, (_, index) => index);
    const definition = inside([node(1, "KSampler", { widgets: values })]);
    expect(refusal(document(copies(9_999), [], { definitions: { subgraphs: [definition] } })).detail).toContain(
      "fewer copies",
    );
  });

  it("by a promoted text that goes to a thousand nodes is refused when the result is too long", () => {
    const ends = Array.from({ length: 1_000 }, (_, index) => index + 1);
    const definition = inside(
      ends.map((id) => node(id, "CLIPTextEncode", { inputs: [`text:STRING*<${id}`], widgets: [""] })),
      {
        inputNode: { id: -10 },
        inputs: [{ name: "text", type: "STRING", linkIds: ends }],
        links: ends.map((id) => objectLink(id, -10, 0, id, 0, "STRING")),
      },
    );
    const shell = node(1, SHELL, { inputs: ["text:STRING*"], widgets: ["x".repeat(100_000)] });
    const found = refusal(document([shell], [], { definitions: { subgraphs: [definition] } }));
    expect(found).toMatchObject({
      code: "invalid_workflow",
      path: expect.stringMatching(/^\/workflow\/nodes\/1:\d+$/),
    });
    expect(found.detail).toContain(`${CONVERTED_LENGTH_MAX} characters`);
  });

  it("by a primitive's text that goes to a thousand nodes is refused likewise", () => {
    const ends = Array.from({ length: 1_000 }, (_, index) => index + 2);
    const nodes = [
      node(1, "PrimitiveNode", { outputs: ["STRING:STRING"], widgets: ["x".repeat(100_000), "fixed"] }),
      ...ends.map((id) => node(id, "CLIPTextEncode", { inputs: [`text:STRING*<${id}`], widgets: [""] })),
    ];
    const links: Json[] = ends.map((id) => [id, 1, 0, id, 0, "STRING"]);
    expect(refusal(document(nodes, links)).detail).toContain(`${CONVERTED_LENGTH_MAX} characters`);
  });
});

describe("a document of the size that is taken", () => {
  it("with thousands of nodes, each with more values than its class has widgets, is read at its size", () => {
    const values = Array.from({ length: 400 }, () => "image");
    const nodes = Array.from({ length: 5_000 }, (_, index) => node(index + 1, "KSampler", { widgets: values }));
    // All of it is what no widget takes, so that the defaults of the class count.
    const found = editorGraph(document(nodes, []), lookup);
    expect(found.ok && Object.keys(found.graph)).toHaveLength(5_000);
  });

  it("with thousands of notes about one node's thousands of inputs is converted at its size", () => {
    const slots = Array.from({ length: 20_000 }, (_, slot) => slot);
    const nodes = [
      node(1, "Give", { outputs: ["IMAGE:IMAGE"] }),
      node(2, "Anything Everywhere", { inputs: ["anything:*<1"] }),
      { ...node(3, "Show"), inputs: slots.map((slot) => ({ name: `i${slot}`, type: "IMAGE", link: null })) },
    ];
    const ue_links = slots.map((slot) => ({ upstream: 1, upstream_slot: 0, downstream: 3, downstream_slot: slot }));
    const found = editorGraph(document(nodes, [[1, 1, 0, 2, 0, "IMAGE"]], { extra: { ue_links } }), lookup);
    const show = found.ok ? found.graph["3"] : undefined;
    expect(Object.keys((show as JsonObject | undefined)?.inputs ?? {})).toHaveLength(20_000);
  });

  it("with a file name of a hundred thousand tokens looks each node's values up once", () => {
    const nodes = [
      node(1, "SaveImage", { widgets: ["%K.seed%".repeat(100_000)] }),
      { ...node(2, "KSampler", { widgets: [1, "fixed", 20, 8, "euler", "normal", 1] }), title: "K" },
    ];
    const found = editorGraph(document(nodes, []), lookup);
    const saved = found.ok ? (found.graph["1"] as JsonObject).inputs : undefined;
    expect((saved as JsonObject | undefined)?.filename_prefix).toBe("1".repeat(100_000));
  });

  it("with names of JavaScript's own everywhere is converted, and changes no other object", () => {
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
    const nodes = names.map((name) => ({
      ...node(name, "Show"),
      inputs: names.map((field) => ({ name: field, type: "IMAGE", link: `l${field}`, widget: { name: field } })),
      widgets_values_named: JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}') as Json,
      properties: JSON.parse('{"__proto__": {"polluted": 1}}') as Json,
    }));
    const give = node("give", "Give", { outputs: ["IMAGE:IMAGE"] });
    const links = names.map((name) => [`l${name}`, "give", 0, name, 0, "IMAGE"]);
    const found = editorGraph(document([give, ...(json({ nodes }).nodes as JsonObject[])], links), lookup);
    expect(found.ok && Object.keys(found.graph).sort()).toEqual([...names, "give"].sort());
    expect("polluted" in {}).toBe(false);
  });
});
