import * as z from "zod";
import { route } from "#contract/api/route";
import { FileId } from "#contract/ids";
import { Sha256 } from "#contract/job";
import { FILE_BYTES_MAX } from "#contract/limits";

const tag = "Files";

export const File = z
  .object({
    id: FileId,
    filename: z.string(),
    content_type: z.string(),
    size: z.int().nonnegative(),
    sha256: Sha256,
    created_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
  })
  .meta({ id: "File" });
export type File = z.infer<typeof File>;

export const uploadFile = route({
  id: "uploadFile",
  tag,
  method: "post",
  path: "/v1/files",
  summary: "Upload an input file: raw body, or multipart/form-data with one part `file`",
  description: "The same bytes uploaded again give the same file (sha256). Use its id as the value of a file input.",
  scope: "run",
  query: z.object({ filename: z.string().min(1).max(255).optional() }),
  bodyTypes: ["application/octet-stream", "image/*", "video/*", "audio/*", "multipart/form-data"],
  bodyBytesMax: FILE_BYTES_MAX,
  idempotent: "catalog",
  status: 201,
  returns: File,
  alsoReturns: { 200: "The file was already there" },
  problems: ["invalid_file", "checksum_mismatch", "length_required"],
});
export const getFile = route({
  id: "getFile",
  tag,
  method: "get",
  path: "/v1/files/{file}",
  summary: "Get an uploaded file's record",
  scope: "read",
  params: z.object({ file: FileId }),
  status: 200,
  returns: File,
  problems: ["file_not_found"],
});
