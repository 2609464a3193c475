import { CliError } from "#cli/errors";

/** What a failed file call means to a person. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is a file, not a folder",
  EACCES: "you are not allowed to",
  EPERM: "you are not allowed to",
  EROFS: "the disk is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "your quota on the disk is used up",
  EMFILE: "too many files are open",
};

/** An error of the file system as a sentence with the path; anything else as it came. */
export function readable(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CliError || !("code" in error)) return error;
  const reason = typeof error.code === "string" ? REASONS[error.code] : undefined;
  if (reason === undefined) return error;
  const path = "path" in error && typeof error.path === "string" ? error.path : "A file";
  return new CliError("file_unusable", `${path} cannot be used: ${reason}`, undefined, { cause: error });
}

/** The reason alone, for a sentence that names the file itself. */
export function fileReason(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return REASONS[code] ?? (error instanceof Error ? error.message : String(error));
}
