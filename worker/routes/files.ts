/** Uploading input files. */

import { getFile, uploadFile } from "#contract/api/files";
import { FILE_BYTES_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { fileView, selectFiles } from "#worker/catalog/files";
import { jsonAnswer } from "#worker/http/answer";
import { keyedCall, runOnce } from "#worker/http/idempotent";
import { countedBody, statedLength, tooLarge } from "#worker/http/read-body";
import { handle } from "#worker/http/router";
import { statedHash } from "#worker/http/stated-hash";
import { readFormFile } from "#worker/inputs/multipart-form";
import { type IncomingFile, storeFile, sweepFiles } from "#worker/inputs/store-file";

/** Boundaries and headers of a form around the file itself. */
const FORM_BYTES_MAX = 16 * 1024;

const upload = handle(uploadFile, async (call) => {
  const { env, principal, query, request, waitUntil } = call;
  const keyed = keyedCall(call, principal);
  const sha256 = statedHash(request);
  const type = request.headers.get("content-type") ?? "";
  const incoming = /^multipart\/form-data/i.test(type)
    ? await fromForm(request, type, query.filename)
    : { chunks: countedBody(request, FILE_BYTES_MAX), contentType: type, filename: query.filename ?? "file" };
  const { file, created } = await storeFile(env, principal.workspaceId, { ...incoming, sha256 });
  waitUntil(sweepFiles(env, principal.workspaceId));
  const answer = jsonAnswer(created ? 201 : 200, fileView(file));
  // The bytes make the file, so storing them twice makes no second one; and a form's boundary differs at each try.
  return keyed === undefined ? answer : runOnce(call, keyed, file.sha256, async () => answer);
});

const get = handle(getFile, async ({ env, principal, params }) => {
  const [file] = await selectFiles(env.CATALOG, principal.workspaceId, [params.file], Date.now());
  if (file === undefined) throw new Problem("file_not_found", "Your workspace has no such file.");
  return fileView(file);
});

export const fileRoutes = [upload, get];

async function fromForm(request: Request, type: string, filename: string | undefined): Promise<IncomingFile> {
  if ((statedLength(request) ?? 0) > FILE_BYTES_MAX + FORM_BYTES_MAX) throw tooLarge(FILE_BYTES_MAX);
  const form = await readFormFile(type, countedBody(request, FILE_BYTES_MAX + FORM_BYTES_MAX));
  return { chunks: form.chunks, contentType: form.contentType, filename: filename ?? form.filename };
}
