/** Writes the documents that are read from the contract: `npm run generate`. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { PROJECT_ROOT } from "#cli/local/state-folder";
import { openApiDocument } from "#contract/openapi";
import { problemTable } from "#contract/problem-table";

/** Path below the repository, and what should be in the file. */
export async function generatedDocuments(): Promise<ReadonlyMap<string, string>> {
  const packageJson: unknown = JSON.parse(await readFile(join(PROJECT_ROOT, "package.json"), "utf8"));
  const { version } = z.object({ version: z.string() }).parse(packageJson);
  return new Map([
    ["docs/openapi.json", `${JSON.stringify(openApiDocument(version), null, 2)}\n`],
    ["docs/problems.md", problemTable()],
  ]);
}

if (import.meta.main) {
  for (const [path, content] of await generatedDocuments()) {
    await writeFile(join(PROJECT_ROOT, path), content);
    console.log(`wrote ${path}`);
  }
}
