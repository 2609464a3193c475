/** What one build changes against another. */
import type { BuildCustomNode, BuildManifest } from "#contract/build";
import type { BuildDiff } from "#contract/release";
import { fieldChanges, wordsDiff } from "../field-changes.ts";

export interface DiffedBuild {
  readonly digest: string;
  readonly manifest: BuildManifest;
}

/** @returns null when they are the same build, or both none */
export function buildDiff(from: DiffedBuild | null, to: DiffedBuild | null): BuildDiff | null {
  if (from?.digest === to?.digest) return null;
  const lists = <Item>(listOf: (manifest: BuildManifest) => readonly Item[], name: (item: Item) => string) => {
    const [before, after] = [from, to].map((build) => (build === null ? [] : listOf(build.manifest).map(name)));
    return wordsDiff(before ?? [], after ?? []);
  };
  return {
    from: from?.digest ?? null,
    to: to?.digest ?? null,
    fields: fieldChanges(fieldsOf(from), fieldsOf(to)),
    custom_nodes: lists(({ customNodes }) => customNodes, pinned),
    packages: lists(
      ({ pipDependencies }) => pipDependencies,
      (line) => line,
    ),
    models: lists(
      ({ models }) => models,
      ({ type, filename, sha256 }) => `${type}/${filename} ${sha256}`,
    ),
  };
}

function fieldsOf(build: DiffedBuild | null): Map<string, unknown> {
  if (build === null) return new Map();
  const { baseComfyVersion, comfyRepository, comfyCommit, environment, launch, pipIndexes } = build.manifest;
  return new Map<string, unknown>([
    ["baseComfyVersion", baseComfyVersion],
    ["comfyRepository", comfyRepository],
    ["comfyCommit", comfyCommit],
    ...Object.entries(environment).map(([name, value]): [string, unknown] => [`environment.${name}`, value]),
    ["pipIndexes", pipIndexes],
    ["launch.flags", launch.flags],
    ["launch.cache", launch.cache],
  ]);
}

function pinned(node: BuildCustomNode): string {
  return "gitRef" in node ? `${node.name}@${node.gitRef} ${node.repository}` : `${node.id}@${node.registryVersion}`;
}
