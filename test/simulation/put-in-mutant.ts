import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutants.ts";

const ROOT = new URL("../../", import.meta.url);

/** The source of a mutant's file with its changes. @throws Error unless what each one replaces is there exactly once */
export function changedSource(mutant: Mutant): string {
  let source = readFileSync(new URL(mutant.file, ROOT), "utf8");
  for (const { find, replace } of [mutant, ...(mutant.also ?? [])]) {
    const parts = source.split(find);
    if (parts.length !== 2) {
      throw new Error(
        `mutant ${mutant.name}: what it replaces is ${parts.length - 1} times in ${mutant.file}: ${find}`,
      );
    }
    source = parts.join(replace);
  }
  return source;
}

/** From now on this process loads the mutant's file with its change, before its types are stripped. */
export function putIn(mutant: Mutant): void {
  const source = changedSource(mutant);
  const target = fileURLToPath(new URL(mutant.file, ROOT));
  registerHooks({
    load(url, context, nextLoad) {
      if (!url.startsWith("file:") || fileURLToPath(url) !== target) return nextLoad(url, context);
      return { format: "module-typescript", source, shortCircuit: true };
    },
  });
}
