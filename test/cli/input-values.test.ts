import { describe, expect, it } from "vitest";
import { CliError } from "#cli/errors";
import { inputValue, jsonInputs } from "#cli/input-values";
import type { InputSpec } from "#contract/workflow";

const base = { title: "", targets: [{ node: "1", field: "x" }], required: false, advanced: false };
const specs: InputSpec[] = [
  { ...base, name: "prompt", type: "string", multiline: true, maxLength: 1_000 },
  { ...base, name: "seed", type: "integer", seed: true },
  { ...base, name: "strength", type: "number" },
  { ...base, name: "tiled", type: "boolean" },
  { ...base, name: "sampler", type: "choice", choices: ["euler", 2] },
  { ...base, name: "image", type: "file", media: "image" },
];
const value = (assignment: string) => inputValue(assignment, specs).value;

describe("an input on the command line", () => {
  it.each([
    ["prompt=a fox = a fox", "a fox = a fox"],
    ["prompt=", ""],
    ["prompt=@home", "@home"],
    ["seed=18446744073709551615", 18_446_744_073_709_551_615n],
    ["seed=-3", -3],
    ["seed=+7", 7],
    ["strength=0.5", 0.5],
    ["strength=1e3", 1_000],
    ["tiled=yes", true],
    ["tiled=0", false],
    ["sampler=euler", "euler"],
    ["sampler=2", 2],
    ["sampler=unknown", "unknown"],
    ["image=@a cat.png", { path: "a cat.png" }],
    ["image=https://example.com/a.png", "https://example.com/a.png"],
    ["image=file_0dpx4n3m8k7q2wz6tgr1vyc5ha", "file_0dpx4n3m8k7q2wz6tgr1vyc5ha"],
  ])("%s is read by its type", (assignment, expected) => {
    expect(value(assignment)).toEqual(expected);
  });

  it.each([
    ["seed=1.5"],
    ["seed="],
    ["strength=wide"],
    ["strength= "],
    ["tiled=maybe"],
    ["promt=x"],
    ["nothing"],
    ["=x"],
  ])("%s is refused with what is taken", (assignment) => {
    expect(() => value(assignment)).toThrow(CliError);
  });

  it("names the input that was probably meant", () => {
    expect(() => value("promt=x")).toThrow(expect.objectContaining({ hint: "Did you mean prompt?" }));
  });
});

describe("inputs as JSON", () => {
  const read = (source: string, stdin = "") => jsonInputs(source, "/", async () => new TextEncoder().encode(stdin));

  it("keep every digit", async () => {
    expect(await read('{"seed": 18446744073709551615}')).toEqual({ seed: 18_446_744_073_709_551_615n });
  });

  it("come from standard input too", async () => {
    expect(await read("@-", '\uFEFF{"a": 1}')).toEqual({ a: 1 });
  });

  it.each(["[1]", "{", "null", '{"a": 1, "a": 2}'])("refuse %s", async (source) => {
    await expect(read(source)).rejects.toMatchObject({ code: "usage" });
  });

  it("say which file cannot be read", async () => {
    await expect(read("@/no/such/file.json")).rejects.toMatchObject({ code: "file_unreadable" });
  });
});
