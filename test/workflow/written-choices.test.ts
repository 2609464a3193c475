import { describe, expect, it } from "vitest";
import { fillGraph } from "#workflow/fill-graph";
import { imported, input, node, parsed } from "./graphs.ts";
import { converted, inputsOf, uiGraph, uiNode } from "./ui/editor-graph.ts";

const stored = (widgets: unknown[], more = {}) =>
  inputsOf(converted(uiGraph([uiNode("1", "CustomCombo", { widgets: widgets as string[], ...more })], [])), "1");
const OPTIONS = { option1: "soft", option2: "hard", option3: "" };

describe("a choice whose options its author typed into the node", () => {
  it.each([
    ["hard", 1],
    ["soft", 0],
    ["gone", -1],
  ])("is sent with its options and its number: %s", (choice, index) => {
    expect(stored([choice, 7, "soft", "hard", ""])).toEqual({ choice, index, ...OPTIONS });
  });

  it("had no number in older files", () => {
    expect(stored(["hard", "soft", "hard", ""])).toEqual({ choice: "hard", index: 1, ...OPTIONS });
  });

  it("has the number of the choice that was made outside of the subgraph it is in", () => {
    expect(stored(["soft", 0, "soft", "hard", ""], { overrides: { choice: "hard" } })).toMatchObject({
      choice: "hard",
      index: 1,
    });
  });

  it("is read by name where the file has names", () => {
    const namedWidgets = { choice: "hard", index: 0, ...OPTIONS, other: "x" };
    expect(stored([], { namedWidgets })).toEqual({ choice: "hard", index: 1, ...OPTIONS });
  });

  const graph = {
    a: node("CustomCombo", { choice: "soft", index: 0, ...OPTIONS }, "Light"),
    b: node("StringConcatenate", { string_a: ["a", 0], string_b: "", delimiter: "" }),
    c: node("PreviewAny", { source: ["b", 0] }),
    d: node("PreviewAny", { source: ["a", 1] }),
  };

  it("is an input with these options and no others, called after its node", async () => {
    const workflow = await imported(graph);
    expect(input(workflow, "light")).toMatchObject({ type: "choice", choices: ["soft", "hard"], default: "soft" });
    expect(workflow.inputs.flatMap(({ targets }) => targets.map(({ field }) => field))).not.toContain("option1");
  });

  it("gets the number of what the caller chose", async () => {
    const { inputs, graph: text } = await imported(graph);
    const filled = fillGraph({
      graph: parsed(text),
      inputs,
      values: { light: "hard" },
      files: {},
      filenamePrefix: (_id, prefix) => prefix,
    });
    expect(filled).toMatchObject({ a: { inputs: { choice: "hard", index: 1 } } });
  });
});
