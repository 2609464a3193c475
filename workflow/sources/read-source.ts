/** From the bytes of a file to the workflow in it, whichever kind of file carries it. */
import { WORKFLOW_BODY_BYTES_MAX } from "#contract/limits";
import { type Refusal, refusal } from "#contract/problems";
import { isPng, readPngMetadata } from "../png-metadata.ts";
import { decodeText } from "./decode-text.ts";
import { readJsonSource } from "./json-source.ts";
import type { SourceContents } from "./source-contents.ts";
import { isWebp, readWebpMetadata } from "./webp-metadata.ts";
import { isZip } from "./zip.ts";
import { readZipSource } from "./zip-source.ts";

/** What people send by mistake or by hope, told by its first bytes, and what to send instead. */
const REFUSED: readonly (readonly [what: string, at: number, signature: string, wayOut: string])[] = [
  ["an MP4 or MOV video", 4, "ftyp", "video"],
  ["a WebM or Matroska video", 0, "\u001aE\u00df\u00a3", "video"],
  ["an OGG file", 0, "OggS", "video"],
  ["a FLAC file", 0, "fLaC", "video"],
  ["a JPEG", 0, "\u00ff\u00d8\u00ff", "picture"],
  ["a GIF", 0, "GIF8", "picture"],
  ["a gzip archive", 0, "\u001f\u008b", "archive"],
  ["a 7z archive", 0, "7z\u00bc\u00af", "archive"],
  ["a RAR archive", 0, "Rar!", "archive"],
];
const WAYS_OUT: Readonly<Record<string, string>> = {
  video: "Open it in ComfyUI, which reads its workflow, choose Workflow > Export (API), and send that JSON file.",
  picture: "ComfyUI writes no workflow into it. Send a PNG or WebP that it saved, or the exported JSON file.",
  archive: "Send a zip, or the JSON file alone.",
};

const KEYWORDS = ["prompt", "workflow"];

/**
 * Reads JSON text, the pictures ComfyUI saves, and archives. Told by content: names and content types lie.
 * Never throws for what the bytes hold; a Refusal is `invalid_workflow` with a sentence for the sender.
 */
export async function readSource(bytes: Uint8Array): Promise<SourceContents | Refusal> {
  if (bytes.length === 0) return refusal("invalid_workflow", "The file is empty.");
  if (isPng(bytes)) return pictureSource("png", await readPngMetadata(bytes, KEYWORDS));
  if (isWebp(bytes)) return pictureSource("webp", readWebpMetadata(bytes, KEYWORDS));
  if (isZip(bytes)) return readZipSource(bytes);
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const refused = REFUSED.find(([, at, signature]) => start.startsWith(signature, at));
  if (refused !== undefined) {
    const [what, , , wayOut] = refused;
    return refusal("invalid_workflow", `The file is ${what}, which is not read for workflows. ${WAYS_OUT[wayOut]}`);
  }
  if (bytes.length > WORKFLOW_BODY_BYTES_MAX) {
    return refusal("invalid_workflow", `The file has ${bytes.length} bytes; ${WORKFLOW_BODY_BYTES_MAX} are the most.`);
  }
  const text = decodeText(bytes);
  if (text === undefined) {
    return refusal("invalid_workflow", "The file is neither JSON text, a zip nor a PNG or WebP.");
  }
  return readJsonSource(text);
}

type Metadata =
  | { readonly ok: true; readonly text: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly fault: string };

function pictureSource(container: "png" | "webp", metadata: Metadata): SourceContents | Refusal {
  if (!metadata.ok) return refusal("invalid_workflow", metadata.fault);
  const prompt = metadata.text.get("prompt");
  const workflow = metadata.text.get("workflow");
  if (prompt === undefined && workflow === undefined) {
    return refusal(
      "invalid_workflow",
      "The picture holds no workflow: ComfyUI writes it into the pictures it saves, and many programs remove it again.",
    );
  }
  return {
    ok: true,
    container,
    ...(prompt === undefined ? {} : { prompt }),
    ...(workflow === undefined ? {} : { workflow }),
    files: [],
  };
}
