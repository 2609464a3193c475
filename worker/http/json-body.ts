import type * as z from "zod";
import { isJsonObject, type Json, JsonNumberError, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import { Problem } from "#contract/problems";
import type { RawBody } from "#worker/http/call";
import { fieldErrors } from "#worker/http/field-errors";
import { wholeBody } from "#worker/http/read-body";

/**
 * Reads a JSON body and checks it.
 * @throws Problem unsupported_media_type, body_too_large, request_timeout, malformed_json (400: not one document),
 *   invalid_body (422: fields that mean nothing, each named)
 */
export async function readJsonBody<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
  bytesMax: number,
): Promise<{ body: z.infer<Schema>; raw: RawBody }> {
  requireJson(request);
  const bytes = await wholeBody(request, bytesMax);
  const document = parseBytes(bytes);
  if (!isJsonObject(document)) {
    throw new Problem("invalid_body", "The body must be a JSON object.", {
      errors: [{ path: "", reason: "Must be an object." }],
    });
  }
  return { body: checked(document, schema), raw: { bytes, document } };
}

/** Refuses every content type but JSON in UTF-8; a missing one too, because then a browser form could call us. */
function requireJson(request: Request): void {
  const type = request.headers.get("content-type") ?? "";
  if (type === "application/json") return;
  // RFC 9110, section 5.6.6: a parameter may be left out behind its semicolon.
  if (!/^application\/json\s*(?:;\s*(?:charset\s*=\s*"?utf-8"?\s*)?)*$/i.test(type)) {
    throw new Problem("unsupported_media_type", "Send the body with Content-Type: application/json.");
  }
}

/** A byte order mark is kept, so that the parser refuses it: the bytes that are checked are those that are used. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function parseBytes(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw new Problem("malformed_json", "The body is not UTF-8.");
  }
  if (text.trim() === "") throw new Problem("malformed_json", "The body is empty; send a JSON object.");
  try {
    return parseExactJson(text);
  } catch (error) {
    // JSON bounds no number, so this is a document, and one that means nothing here.
    if (error instanceof JsonNumberError) {
      const reason = `${error.message}.`;
      throw new Problem("invalid_body", reason, { errors: [{ path: "", reason }] });
    }
    if (error instanceof JsonSyntaxError) throw new Problem("malformed_json", `${error.message}.`);
    throw error;
  }
}

/** The value as the schema gives it back, or a problem that names every wrong field. */
export function checked<Schema extends z.ZodType>(value: unknown, schema: Schema): z.infer<Schema> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const errors = fieldErrors(result.error.issues);
  throw new Problem("invalid_body", summary(errors), { errors });
}

/** One line that names the first wrong fields. */
export function summary(errors: readonly { path: string; reason: string }[]): string {
  const shown = errors.slice(0, 3).map((error) => `${error.path === "" ? "The body" : error.path}: ${error.reason}`);
  const more = errors.length - shown.length;
  return more > 0 ? `${shown.join(" ")} And ${more} more.` : shown.join(" ");
}
