/** Several sources of one build: what the first leaves open is taken from the next. */
import {
  type BuildDraft,
  type BuildReading,
  type DraftCustomNode,
  type DraftModel,
  EMPTY_DRAFT,
  isRegistryNode,
} from "./draft.ts";
import { DRAFT_SOURCES_MAX } from "./draft-limits.ts";
import { lockedVersion } from "./requirements.ts";

export interface NamedReading extends BuildReading {
  /** Of the file, for sentences. */
  readonly name: string;
}

/**
 * Puts drafts together. The first to say a thing counts; where a later one says another, the warnings name both. A lock
 * is one whole: it is taken from one source and never mixed.
 */
export function mergeDrafts(readings: readonly NamedReading[]): BuildReading {
  const merging = new Merging();
  for (const reading of readings) merging.add(reading);
  return { ok: true, draft: merging.draft, warnings: merging.warnings };
}

class Merging {
  draft: BuildDraft = EMPTY_DRAFT;
  readonly warnings: string[] = [];

  add({ name, draft, warnings }: NamedReading): void {
    this.warnings.push(...warnings.map((warning) => `${name}: ${warning}`));
    const one = this.draft;
    const pick = (what: string, first: string | null, second: string | null): string | null => {
      if (first !== null && second !== null && first !== second) {
        this.warnings.push(`${name}: ${what} is ${second} here; ${first}, which was said before, is taken.`);
      }
      return first ?? second;
    };
    if (one.pipDependencies !== null && draft.pipDependencies !== null) {
      if (!sameLines(one.pipDependencies, draft.pipDependencies)) {
        this.warnings.push(`${name}: its Python lock is left out, since another source before it has one.`);
      }
    }
    const takesLock = one.pipDependencies === null;
    const pipDependencies = one.pipDependencies ?? draft.pipDependencies;
    this.draft = {
      baseComfyVersion: pick("ComfyUI's version", one.baseComfyVersion, draft.baseComfyVersion),
      comfyRepository: pick("ComfyUI's repository", one.comfyRepository, draft.comfyRepository),
      comfyCommit: pick("ComfyUI's commit", one.comfyCommit, draft.comfyCommit),
      environment: {
        os: pick("the system", one.environment.os, draft.environment.os),
        arch: pick("the processor", one.environment.arch, draft.environment.arch),
        pythonVersion: pick("Python's version", one.environment.pythonVersion, draft.environment.pythonVersion),
        torch:
          one.environment.torch ??
          (takesLock ? draft.environment.torch : null) ??
          lockedVersion(pipDependencies ?? [], "torch"),
      },
      pipDependencies,
      pipIndexes: one.pipIndexes.length === 0 && takesLock ? draft.pipIndexes : one.pipIndexes,
      customNodes: this.nodes(one.customNodes, draft.customNodes, name, pick),
      models: mergeModels(one.models, draft.models, pick),
      launch: one.launch ?? draft.launch,
    };
  }

  private nodes(
    first: readonly DraftCustomNode[],
    second: readonly DraftCustomNode[],
    name: string,
    pick: Pick,
  ): DraftCustomNode[] {
    const merged = [...first];
    for (const node of second) {
      const at = first.findIndex((each) => each.name.toLowerCase() === node.name.toLowerCase());
      const before = first[at];
      if (before === undefined) merged.push(node);
      else if (isRegistryNode(before) && isRegistryNode(node)) {
        const registryVersion = pick(`the version of ${before.name}`, before.registryVersion, node.registryVersion);
        merged[at] = { ...before, registryVersion };
      } else if (!isRegistryNode(before) && !isRegistryNode(node)) {
        merged[at] = {
          name: before.name,
          repository: pick(`the repository of ${before.name}`, before.repository, node.repository),
          gitRef: pick(`the commit of ${before.name}`, before.gitRef, node.gitRef),
        };
      } else if (isPinned(before) || !isPinned(node)) {
        this.warnings.push(
          `${name}: ${node.name} comes ${whence(node)} here; ${whence(before)}, which was said before, is taken.`,
        );
      } else merged[at] = node;
    }
    return merged;
  }
}

type Pick = (what: string, first: string | null, second: string | null) => string | null;

function isPinned(node: DraftCustomNode): boolean {
  return isRegistryNode(node) ? node.registryVersion !== null : node.repository !== null && node.gitRef !== null;
}

function whence(node: DraftCustomNode): string {
  return isRegistryNode(node) ? "from the registry" : "from a repository";
}

function mergeModels(first: readonly DraftModel[], second: readonly DraftModel[], pick: Pick): DraftModel[] {
  const merged = [...first];
  const places = new Map(first.map((model, index) => [`${model.type}/${model.filename}`, index]));
  // A source that does not know the folder speaks of the file of that name.
  const names = new Map(first.map((model, index) => [model.filename, index]));
  for (const model of second) {
    const at = places.get(`${model.type}/${model.filename}`) ?? sameName(merged, names.get(model.filename), model);
    const before = at === undefined ? undefined : merged[at];
    if (at === undefined || before === undefined) merged.push(model);
    else {
      const size = pick(
        `the size of ${model.filename}`,
        before.sizeBytes?.toString() ?? null,
        model.sizeBytes?.toString() ?? null,
      );
      merged[at] = {
        type: before.type ?? model.type,
        filename: before.filename,
        sha256: pick(`the sha256 of ${model.filename}`, before.sha256, model.sha256),
        sizeBytes: size === null ? null : Number(size),
        sources: [...new Set([...before.sources, ...model.sources])].slice(0, DRAFT_SOURCES_MAX),
      };
    }
  }
  return merged;
}

function sameName(models: readonly DraftModel[], at: number | undefined, model: DraftModel): number | undefined {
  const found = at === undefined ? undefined : models[at];
  return found !== undefined && (found.type === null || model.type === null) ? at : undefined;
}

function sameLines(one: readonly string[], other: readonly string[]): boolean {
  return one.toSorted().join("\n") === other.toSorted().join("\n");
}
