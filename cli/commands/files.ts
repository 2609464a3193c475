import { createHash } from "node:crypto";
import { basename } from "node:path";
import type { Command } from "#cli/command";
import { contentTypeOf, readLocalFile } from "#cli/input-values";
import { byteSize } from "#cli/text-table";

export const filesPut: Command = {
  path: ["files", "put"],
  summary: "Upload an input file; its id is the value of a file input",
  examples: ["pilotlight files put photo.jpg"],
  positionals: [{ name: "file", required: true }],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const path = call.positionals[0] ?? "";
    const content = await readLocalFile(path, call.workingDirectory);
    const client = await call.connect();
    const file = await client.files.upload(content, {
      filename: basename(path),
      contentType: contentTypeOf(path),
      sha256: createHash("sha256").update(content).digest("hex"),
      signal: call.interrupts.signal,
    });
    return {
      data: { file },
      ids: [file.id],
      text: [file.id, `  ${file.filename}, ${file.content_type}, ${byteSize(file.size)}`],
    };
  },
};
