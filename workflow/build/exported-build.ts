/** A build in another tool's words. */
export interface ExportedBuild {
  readonly files: readonly { readonly name: string; readonly content: string }[];
  /** What the other format has no place for, in words. */
  readonly lost: readonly string[];
}
