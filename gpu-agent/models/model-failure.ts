/** Why a model is not on the machine. The message goes to the operator: it names what to change, and never a token. */

export type ModelFailureCode =
  /** The bytes arrived and are others than the build says. */
  | "wrong_hash"
  /** The source has a file of another size than the build says. */
  | "wrong_size"
  /** Not a safetensors file, and its format is not allowed by name. */
  | "format_refused"
  /** Called safetensors, but its header is wrong. */
  | "bad_safetensors"
  /** The source may not be asked: its address is private, its kind is not allowed. */
  | "source_refused"
  /** The source answered that it does not have the file, or not for us. */
  | "source_denied"
  /** The source did not answer, or broke off too often. */
  | "source_unreachable"
  /** The file at the source changed while it was read, more often than is followed. */
  | "source_changed"
  /** The build names no source for the model. */
  | "no_source"
  | "no_space"
  /** The model was to be linked before it was there. */
  | "not_here"
  /** A path would leave the build's folder. */
  | "path_refused";

/** Codes whose cause may pass by itself. */
const PASSING: ReadonlySet<ModelFailureCode> = new Set(["source_unreachable", "source_changed", "no_space"]);

export class ModelFailure extends Error {
  readonly code: ModelFailureCode;
  /** The same call may succeed later without anybody changing the build. */
  readonly retryable: boolean;

  constructor(code: ModelFailureCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.name = "ModelFailure";
    this.code = code;
    this.retryable = PASSING.has(code);
  }
}

/** The operating system's words for a disk, or a user's share of it, that is full. */
export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}

/** Bytes as people write them, such as 6.9 GB. */
export function shownBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const value = bytes / 1_000 ** step;
  return `${step === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[step] ?? ""}`;
}
