/** What comes over ComfyUI's WebSocket, made into values. Every field is optional: versions and custom nodes differ. */
import { isJsonObject, type Json, type JsonObject, parseExactJson } from "#contract/exact-json";

export type Frame =
  | { readonly kind: "event"; readonly type: string; readonly promptId: string | null; readonly data: JsonObject }
  | {
      readonly kind: "preview";
      /** Null in the older format, which names no prompt. */
      readonly promptId: string | null;
      readonly contentType: PreviewType;
      readonly bytes: Uint8Array;
    };

export type PreviewType = "image/jpeg" | "image/png" | "image/webp";

const PREVIEW = 1;
const PREVIEW_WITH_METADATA = 4;

/** @returns null for what this agent has no use for, and for what cannot be read */
export function readFrame(data: string | ArrayBuffer): Frame | null {
  try {
    return typeof data === "string" ? readEvent(data) : readBinary(data);
  } catch {
    return null;
  }
}

function readEvent(text: string): Frame | null {
  const message = readHint(text);
  if (!isJsonObject(message) || typeof message.type !== "string") return null;
  const data = isJsonObject(message.data) ? message.data : {};
  const promptId = data.prompt_id;
  return { kind: "event", type: message.type, promptId: typeof promptId === "string" ? promptId : null, data };
}

/** A dozen frames come for each job, and nothing of them is kept: the engine's own reader does but for Python's numbers. */
function readHint(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return parseExactJson(text, { depthMax: 512, pythonNumbers: true });
  }
}

function readBinary(buffer: ArrayBuffer): Frame | null {
  const view = new DataView(buffer);
  const event = view.getUint32(0);
  if (event === PREVIEW) {
    const format = view.getUint32(4);
    const bytes = new Uint8Array(buffer, 8);
    return { kind: "preview", promptId: null, contentType: format === 2 ? "image/png" : "image/jpeg", bytes };
  }
  if (event !== PREVIEW_WITH_METADATA) return null;
  const length = view.getUint32(4);
  const metadata = parseExactJson(new TextDecoder().decode(new Uint8Array(buffer, 8, length)), {
    pythonNumbers: true,
  });
  if (!isJsonObject(metadata)) return null;
  const type = metadata.image_type;
  const promptId = metadata.prompt_id;
  return {
    kind: "preview",
    promptId: typeof promptId === "string" ? promptId : null,
    contentType: type === "image/png" || type === "image/webp" ? type : "image/jpeg",
    bytes: new Uint8Array(buffer, 8 + length),
  };
}
