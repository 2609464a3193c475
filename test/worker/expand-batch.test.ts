import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#contract/exact-json";
import { expandBatch } from "#worker/jobs/expand-batch";

const sentOf = (document: JsonObject) => [...expandBatch(document)].map(({ sent }) => ({ ...sent }));

describe("a list", () => {
  it("is one job for each item, and errors name the item", () => {
    const [, second] = [...expandBatch({ inputs: [{ a: 1 }, { a: 2 }] })];
    expect(second?.sent).toEqual({ a: 2 });
    expect(second?.pathOf("a/b~")).toBe("/inputs/1/a~1b~0");
  });
});

describe("a sweep", () => {
  it("is one job for each combination, the last name fastest", () => {
    expect(sentOf({ inputs: { steps: 5 }, sweep: { seed: [1, 2], prompt: ["a", "b"] } })).toEqual([
      { steps: 5, seed: 1, prompt: "a" },
      { steps: 5, seed: 1, prompt: "b" },
      { steps: 5, seed: 2, prompt: "a" },
      { steps: 5, seed: 2, prompt: "b" },
    ]);
  });

  it("names the value in errors, and shared inputs where they are", () => {
    const entries = [...expandBatch({ inputs: { steps: 5 }, sweep: { seed: [1, 2], prompt: ["a", "b"] } })];
    expect(entries[2]?.pathOf("seed")).toBe("/sweep/seed/1");
    expect(entries[2]?.pathOf("prompt")).toBe("/sweep/prompt/0");
    expect(entries[2]?.pathOf("steps")).toBe("/inputs/steps");
  });

  it("holds every combination once", () => {
    const fields = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fields, fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 4, maxLength: 4 }), (names, sizes) => {
        const sweep: JsonObject = Object.fromEntries(
          names.map((name, index) => [name, Array.from({ length: sizes[index] ?? 1 }, (_, value) => value)]),
        );
        const made = sentOf({ sweep });
        const product = names.reduce((all, _, index) => all * (sizes[index] ?? 1), 1);
        expect(made).toHaveLength(product);
        expect(new Set(made.map((one) => JSON.stringify(names.map((name) => one[name])))).size).toBe(product);
      }),
    );
  });

  it("keeps names that are special to JavaScript", () => {
    const document = { sweep: Object.assign(Object.create(null), { ["__proto__"]: [1] }) as JsonObject };
    const [only] = [...expandBatch(document)];
    expect(Object.keys(only?.sent ?? {})).toEqual(["__proto__"]);
  });
});

describe("what is no batch", () => {
  const thousand = Array.from({ length: 1_000 }, (_, value) => value);
  it.each<[string, JsonObject, string]>([
    ["a list with a sweep", { inputs: [{}], sweep: { a: [1] } }, "/inputs"],
    ["shared inputs without a sweep", { inputs: { a: 1 } }, "/inputs"],
    ["nothing", {}, "/inputs"],
    ["an empty sweep", { sweep: {} }, "/sweep"],
    ["an input that is shared and swept", { inputs: { a: 1 }, sweep: { a: [1] } }, "/sweep/a"],
    ["a thousand and more combinations", { sweep: { a: thousand, b: [1, 2] } }, "/sweep"],
    [
      "more combinations than a number holds",
      { sweep: Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`n${index}`, thousand])) },
      "/sweep",
    ],
  ])("%s is refused before anything is made", (_, document, path) => {
    expect(() => expandBatch(document)).toThrow(
      expect.objectContaining({ code: "invalid_batch", errors: [expect.objectContaining({ path })] }),
    );
  });
});
