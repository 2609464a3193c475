/** Folders of a server that live as long as one test. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Folders } from "#gpu-agent/stand-in/node";

/** Makes empty folders; `remove` takes them away again. */
export function temporaryFolders(): { readonly folders: Folders; remove(): void } {
  const root = mkdtempSync(path.join(tmpdir(), "stand-in-nodes-"));
  const folders = {
    input: path.join(root, "input"),
    output: path.join(root, "output"),
    temp: path.join(root, "temp"),
    models: path.join(root, "models"),
  };
  for (const folder of Object.values(folders)) mkdirSync(folder);
  return { folders, remove: () => rmSync(root, { recursive: true, force: true }) };
}
