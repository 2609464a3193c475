import { describe, expect, it } from "vitest";
import type { Json } from "#contract/exact-json";
import { validateInputs } from "#workflow/validate-inputs";
import { imported, type Nodes, node } from "./graphs.ts";

/** What is said of a caller's text for the graph's first text input, "taken" for nothing. */
async function said(nodes: Nodes, text: string): Promise<string> {
  const { inputs } = await imported({
    ...nodes,
    save: node("SaveImage", { images: ["end", 0], filename_prefix: "x" }),
  });
  const input = inputs.find(({ type }) => type === "string");
  if (input === undefined) throw new Error("the graph has no text input");
  const checked = validateInputs([input], { [input.name]: text } as { [name: string]: Json }, { randomSeed: () => 0 });
  return checked.ok ? "taken" : checked.detail;
}

const primitive = (value: string) => node("PrimitiveString", { value });
const TRICKS = ["../../etc", "/etc/passwd", "photo.png [output]", "photo.png [temp]", "a/b.png [input]", "file:///etc"];

describe("a text that is a name further on", () => {
  it.each([
    ["the folder of a custom loader", { text: primitive("abc"), end: node("I4Images", { folder: ["text", 0] }) }],
    ["the picture of a custom loader", { text: primitive("abc"), end: node("I4Thing", { image: ["text", 0] }) }],
    ["a model's name", { text: primitive("abc"), end: node("I4Loader", { lora_name: ["text", 0] }) }],
    [
      "what is made of it and another text",
      {
        text: primitive("abc"),
        joined: node("StringConcatenate", { string_a: "in", string_b: ["text", 0], delimiter: "/" }),
        end: node("I4Images", { prompt: ["joined", 0], file_path: ["joined", 0] }),
      },
    ],
    [
      "the value of a node that nobody describes",
      { text: node("I4Text", { words: "abc" }), end: node("I4Images", { directory: ["text", 0] }) },
    ],
    [
      "the value of a marker node",
      {
        text: node("ComfyUIDeployExternalText", { input_id: "where", default_value: "abc" }),
        end: node("I4Images", { source_file: ["text", 0] }),
      },
    ],
  ])("must not lead elsewhere: %s", async (_, nodes) => {
    for (const trick of TRICKS) expect(await said(nodes, trick)).toContain("As the name of a file, it");
    expect(await said(nodes, "a folder/photo 1")).toBe("taken");
  });

  it.each([
    ["a prompt", { text: primitive("abc"), end: node("I4Maker", { prompt: ["text", 0] }) }],
    [
      "a prompt that also says where pictures are saved",
      { text: primitive("abc"), end: node("I4Maker", { prompt: ["text", 0], filename_prefix: ["text", 0] }) },
    ],
    [
      "what a node draws",
      { text: node("I4Maker", { prompt: "abc", style: "x" }), end: node("I4Save", { images: ["text", 0] }) },
    ],
  ])("may say anything where it is none: %s", async (_, nodes) => {
    for (const trick of TRICKS) expect(await said(nodes, trick)).toBe("taken");
  });
});
