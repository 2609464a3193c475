import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { generatedDocuments } from "#cli/generate";

const documents = await generatedDocuments();

describe("the documents read from the contract", () => {
  it.each([...documents.keys()])("%s is what `npm run generate` writes", async (path) => {
    const written = await readFile(new URL(`../${path}`, import.meta.url), "utf8");
    expect(written).toBe(documents.get(path));
  });

  it("name every problem once", async () => {
    const page = documents.get("docs/problems.md") ?? "";
    expect(page.match(/<a id="queue_full">/g)).toHaveLength(1);
  });
});
