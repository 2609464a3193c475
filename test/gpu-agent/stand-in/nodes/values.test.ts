import { describe, expect, it } from "vitest";
import { NodeError } from "#gpu-agent/stand-in/node";
import { nodeImplementations } from "#gpu-agent/stand-in/nodes/registry";
import { contextFor } from "./run-prompt.ts";

const folders = { input: "/none", output: "/none", temp: "/none", models: "/none" };

async function run(name: string, inputs: Readonly<Record<string, unknown>>): Promise<unknown> {
  const result = await nodeImplementations[name]?.run(inputs, contextFor("1", folders));
  return result?.ui === undefined ? result?.outputs[0] : result.ui;
}

describe("string nodes count as Python does", () => {
  it.each([
    ["StringLength", { string: "añ😀" }, 3],
    ["StringSubstring", { string: "añ😀b", start: -2, end: 99 }, "😀b"],
    ["StringSubstring", { string: "abc", start: 2, end: 1 }, ""],
    ["StringConcatenate", { string_a: "a", string_b: "b", delimiter: ", " }, "a, b"],
    ["CaseConverter", { string: "they're bill's", mode: "Title Case" }, "They'Re Bill'S"],
    ["CaseConverter", { string: "hELLO wORLD", mode: "Capitalize" }, "Hello world"],
    ["CaseConverter", { string: "straße", mode: "UPPERCASE" }, "STRASSE"],
    ["StringTrim", { string: "\u001c\u00a0 x \n", mode: "Both" }, "x"],
    ["StringTrim", { string: "\ufeffx ", mode: "Both" }, "\ufeffx"],
    ["StringTrim", { string: " x ", mode: "Left" }, "x "],
    ["StringReplace", { string: "aaa", find: "a", replace: "$&" }, "$&$&$&"],
    ["StringReplace", { string: "ab", find: "", replace: "-" }, "-a-b-"],
    ["StringContains", { string: "ABC", substring: "b", case_sensitive: false }, true],
    ["StringCompare", { string_a: "abc", string_b: "AB", mode: "Starts With", case_sensitive: true }, false],
    ["StringCompare", { string_a: "abc", string_b: "BC", mode: "Ends With", case_sensitive: false }, true],
  ])("%s %o", async (name, inputs, expected) => {
    expect(await run(name, inputs)).toEqual(expected);
  });
});

describe("regex nodes read Python's syntax", () => {
  const flags = { case_insensitive: false, multiline: false, dotall: false };
  it.each([
    ["(?P<year>\\d{4})-(?P=year)", "2024-2024", true],
    ["(?i)HELLO", "hello", true],
    ["^b", "a\nb", false],
    ["(?m)^b$", "a\nb", true],
    ["a$", "a\n", true],
    ["a\\Z", "a\n", false],
    ["a.b", "a\rb", true],
    ["a.b", "a\nb", false],
    ["\\bé\\b", "é", true],
    ["[^\\W\\d]+", "_x", true],
    ["x{,2}y", "xxy", true],
    ["{}", "{}", true],
    ["[]a]", "]", true],
    ["(unclosed", "(unclosed", false],
    ["\\q", "q", false],
  ])("%s in %j: %s", async (regex_pattern, string, expected) => {
    expect(await run("RegexMatch", { string, regex_pattern, ...flags })).toBe(expected);
  });

  it.each([
    ["First Match", "\\d+", 1, "12"],
    ["All Matches", "\\d+", 1, "12\n34"],
    ["All Matches", "(\\d)(\\d)", 1, "1\n3"],
    ["First Group", "(\\d)(\\d)", 2, "2"],
    ["First Group", "(\\d)", 5, ""],
    ["All Groups", "(\\d)(\\d)", 2, "2\n4"],
    ["First Match", "[", 1, ""],
  ])("extracts %s of %s, group %i", async (mode, regex_pattern, group_index, expected) => {
    expect(await run("RegexExtract", { string: "a12 b34", regex_pattern, mode, group_index, ...flags })).toBe(expected);
  });

  it("replaces with groups by number and name, as often as told", async () => {
    const inputs = { string: "ab ab ab", regex_pattern: "(?P<x>a)(b)", replace: "\\2\\g<x>\\g<1>", count: 2, ...flags };
    expect(await run("RegexReplace", inputs)).toBe("baa baa ab");
  });

  it("raises Python's error for a pattern it cannot replace with", async () => {
    const refused = run("RegexReplace", { string: "a", regex_pattern: "[", replace: "" });
    await expect(refused).rejects.toMatchObject({ type: "re.error" });
    await expect(refused).rejects.toBeInstanceOf(NodeError);
  });
});

describe("PreviewAny", () => {
  it.each([
    ["text", "text"],
    [3, "3"],
    [0.5, "0.5"],
    [18446744073709551615n, "18446744073709551615"],
    [true, "True"],
    [null, "None"],
    [["a", 1], '["a", 1]'],
    [{ a: "é" }, '{"a": "\\u00e9"}'],
  ])("shows %o as Python does", async (source, shown) => {
    expect(await run("PreviewAny", { source })).toEqual({ text: [shown] });
  });

  it("shows a loaded model by name", async () => {
    const loaded = await run("CheckpointLoaderSimple", { ckpt_name: "sd_xl_base_1.0.safetensors" });
    expect(await run("PreviewAny", { source: loaded })).toEqual({
      text: ["<simulated MODEL sd_xl_base_1.0.safetensors>"],
    });
  });

  it("shows a picture as PyTorch prints a tensor", async () => {
    const image = { batch: 1, height: 1, width: 2, channels: 3, data: Float32Array.of(0, 0.5, 1, 0.25, 0.125, 0) };
    expect(await run("PreviewAny", { source: image })).toEqual({
      text: ["tensor([[[[0.0000, 0.5000, 1.0000],\n          [0.2500, 0.1250, 0.0000]]]])"],
    });
  });
});
