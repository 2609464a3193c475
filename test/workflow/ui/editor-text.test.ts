import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sentPrompt } from "#workflow/ui/editor-text";
import { converted, inputsOf, type NodeSketch, uiGraph, uiNode } from "./editor-graph.ts";

const sized = (text: string) => converted(uiGraph([uiNode("1", "Sized", { widgets: ["area", 64, text] })], []));

describe("a prompt", () => {
  it.each([
    ["a {red|blue} lamp", "a red lamp", "alternatives"],
    ["{a {small|big} dog|cat}, {|loud}", "a small dog, ", "alternatives"],
    ["{red|never closed", "red", "alternatives"],
    ["a lamp // or two\nin the dark", "a lamp \nin the dark", "comments"],
    ["a /* red\nor */ lamp", "a  lamp", "comments"],
    // The editor takes the second half of an address for a comment, too.
    ["see https://example.com/a", "see https:", "comments"],
  ])("%j is sent as %j, and that is said", (text, sent, word) => {
    const result = sized(text);
    expect(inputsOf(result, "1")?.text).toBe(sent);
    expect(result.notes).toEqual([expect.stringContaining(word)]);
  });

  it.each([
    ["a lamp", "a lamp"],
    ["{red} lamp", "red lamp"],
    ["\\{red|blue\\}", "{red|blue}"],
    ["a|b} c", "a|b} c"],
    ["(a \\(b\\):1.2)", "(a \\(b\\):1.2)"],
    ["100% wool, %date:yyyy% and %KSampler.seed%", "100% wool, %date:yyyy% and %KSampler.seed%"],
  ])("%j is sent as %j without a word", (text, sent) => {
    const result = sized(text);
    expect(inputsOf(result, "1")?.text).toBe(sent);
    expect(result.notes).toEqual([]);
  });

  it("of a class that nobody describes stays, since only the class says whether it is one", () => {
    const nodes = [
      uiNode("g", "Give", { outputs: ["IMAGE"] }),
      uiNode("1", "Stranger", { inputs: ["IMAGE", { name: "t", widget: "t", type: "STRING" }], widgets: ["{a|b} //"] }),
    ];
    const result = converted(uiGraph(nodes, [["g", 0, "1", 0]]));
    expect(inputsOf(result, "1")?.t).toBe("{a|b} //");
    expect(result.notes).toEqual([expect.stringContaining("stays as it is")]);
  });

  it("of any text is sent once and for all: sending it again changes no plain one", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("{", "}", "|", "a", " ", "\n") }), (text) => {
        const { text: sent } = sentPrompt("text", text);
        expect(sent).not.toContain("{");
        expect(sentPrompt("text", sent)).toEqual({ text: sent, note: undefined });
      }),
    );
  });

  it.each([
    ["{", ""],
    ["/* ", "/* ".repeat(1_000_000)],
    ["//", ""],
    ["a/", "a/".repeat(1_000_000)],
  ])("of a million %j costs its length", (piece, sent) => {
    // Compared here, because a difference of a million characters is no message.
    expect(sentPrompt("text", piece.repeat(1_000_000)).text === sent).toBe(true);
  });

  it("has the comments left out that the pattern of the editor finds", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("/", "*", "a", "\n", "\r") }), (text) => {
        expect(sentPrompt("text", text).text).toBe(text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, ""));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("the prefix of saved files", () => {
  const sampler = (more: NodeSketch = {}) =>
    uiNode("k", "KSampler", { widgets: [7, "fixed", 20, 8, "euler", "normal", 1], ...more });
  const saved = (prefix: string, ...nodes: ReturnType<typeof uiNode>[]) => {
    const result = converted(uiGraph([uiNode("s", "SaveImage", { widgets: [prefix] }), ...nodes], []));
    return { prefix: inputsOf(result, "s")?.filename_prefix, notes: result.notes };
  };

  it("gets the server's own tokens for a date, so that it is the day of the job", () => {
    expect(saved("%date:yyyy-MM-dd%/%date:hhmmss%_x")).toEqual({
      prefix: "%year%-%month%-%day%/%hour%%minute%%second%_x",
      notes: [expect.stringContaining("of each job")],
    });
  });

  it("gets the value of a widget by the node's search name, else by its title", () => {
    expect(
      saved("%Main.seed%_%Other.steps%", sampler({ title: "Other", properties: { "Node name for S&R": "Main" } })),
    ).toMatchObject({ prefix: "7_20", notes: [] });
  });

  it("has no path from a widget's value", () => {
    const text = uiNode("t", "Sized", { title: "T", widgets: ["area", 1, "../a:b"] });
    expect(saved("%T.text%", text).prefix).toBe(".._a_b");
  });

  it("keeps the server's tokens and what stands for nothing, which is said", () => {
    expect(saved("%width%x%height%_%Nobody.seed%_%K.gone%", sampler({ title: "K" }))).toEqual({
      prefix: "%width%x%height%_%Nobody.seed%_%K.gone%",
      notes: [expect.stringContaining("%Nobody.seed%, %K.gone%")],
    });
  });
});
