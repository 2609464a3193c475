/**
 * A build of which not everything is known yet: what a source says, word for word, under the manifest's field names, and
 * null for what it leaves open. Nothing in a draft is invented; `complete-build.ts` says what still has to be filled in.
 */
import type { BuildManifest } from "#contract/build";
import type { FieldError } from "#contract/problems";

export interface DraftRepositoryNode {
  /** The folder below custom_nodes. */
  readonly name: string;
  readonly repository: string | null;
  /** As the source has it: a whole commit, or a branch or an abbreviation that is none. */
  readonly gitRef: string | null;
}
export interface DraftRegistryNode {
  readonly name: string;
  readonly id: string;
  readonly registryVersion: string | null;
}
export type DraftCustomNode = DraftRepositoryNode | DraftRegistryNode;

export interface DraftModel {
  /** The folder below models. */
  readonly type: string | null;
  readonly filename: string;
  readonly sha256: string | null;
  readonly sizeBytes: number | null;
  readonly sources: readonly string[];
}

export interface BuildDraft {
  readonly baseComfyVersion: string | null;
  readonly comfyRepository: string | null;
  readonly comfyCommit: string | null;
  readonly environment: {
    readonly os: string | null;
    readonly arch: string | null;
    readonly pythonVersion: string | null;
    readonly torch: string | null;
  };
  /** Lines of the lock; null where nobody has said any, which is not the same as an empty lock. */
  readonly pipDependencies: readonly string[] | null;
  readonly pipIndexes: readonly string[];
  readonly customNodes: readonly DraftCustomNode[];
  readonly models: readonly DraftModel[];
  readonly launch: BuildManifest["launch"] | null;
}

export const EMPTY_DRAFT: BuildDraft = {
  baseComfyVersion: null,
  comfyRepository: null,
  comfyCommit: null,
  environment: { os: null, arch: null, pythonVersion: null, torch: null },
  pipDependencies: null,
  pipIndexes: [],
  customNodes: [],
  models: [],
  launch: null,
};

/** What was understood of one source. */
export interface BuildReading {
  readonly ok: true;
  readonly draft: BuildDraft;
  /** What was changed or left out, and why, in sentences. */
  readonly warnings: readonly string[];
}

/** A source or a draft that cannot be used, with each place. */
export interface BuildFault {
  readonly ok: false;
  readonly detail: string;
  /** Paths are JSON Pointers into the source, or into the draft. */
  readonly errors: readonly FieldError[];
}

export function buildFault(detail: string, errors: readonly FieldError[] = []): BuildFault {
  return { ok: false, detail, errors };
}

export function isRegistryNode(node: DraftCustomNode): node is DraftRegistryNode {
  return "id" in node;
}
