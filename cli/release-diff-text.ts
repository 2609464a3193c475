import { stringifyExactJson } from "#contract/exact-json";
import type { FieldChange, ReleaseDiff } from "#contract/release";

/** A long text in a diff is shown by its beginning. */
const VALUE_LENGTH_MAX = 60;

/** A digest is told from others by its beginning. */
const DIGEST_LENGTH = 12;

interface Named {
  readonly name: string;
}
interface NodeName {
  readonly node: string;
  readonly class_type: string;
}

/** A diff for people: `+` only in the newer, `-` only in the older, `~` in both but different. */
export function releaseDiffLines(diff: ReleaseDiff): string[] {
  const node = ({ node: id, class_type }: NodeName) => `${id} ${class_type}`;
  const name = (one: Named) => one.name;
  const word = (one: string) => one;
  const lines = [
    ...section<Named>("input", diff.inputs, name),
    ...section<Named>("output", diff.outputs, name),
    ...section<NodeName>("node", diff.nodes, node),
    ...section("class", { ...diff.classes, changed: [] }, word),
    ...section("model", { ...diff.models, changed: [] }, word),
    ...buildLines(diff.build),
  ];
  if (lines.length > 0) return lines;
  return [`Releases ${diff.from} and ${diff.to} are the same.`];
}

function buildLines(build: ReleaseDiff["build"]): string[] {
  if (build === null) return [];
  const name = (digest: string | null) => digest?.slice(0, DIGEST_LENGTH) ?? "none";
  const word = (one: string) => one;
  return [
    `~ build ${name(build.from)} → ${name(build.to)}`,
    ...build.fields.map(({ field, from, to }) => `    ${field}: ${shown(from)} → ${shown(to)}`),
    ...section("custom node", { ...build.custom_nodes, changed: [] }, word),
    ...section("package", { ...build.packages, changed: [] }, word),
    ...section("model file", { ...build.models, changed: [] }, word),
  ];
}

function section<Item>(
  kind: string,
  parts: {
    readonly added: readonly Item[];
    readonly removed: readonly Item[];
    readonly changed: readonly (Item & { readonly fields: readonly FieldChange[] })[];
  },
  nameOf: (item: Item) => string,
): string[] {
  return [
    ...parts.added.map((item) => `+ ${kind} ${nameOf(item)}`),
    ...parts.removed.map((item) => `- ${kind} ${nameOf(item)}`),
    ...parts.changed.flatMap((item) => [
      `~ ${kind} ${nameOf(item)}`,
      ...item.fields.map(({ field, from, to }) => `    ${field}: ${shown(from)} → ${shown(to)}`),
    ]),
  ];
}

function shown(value: unknown): string {
  if (value === undefined) return "none";
  const text = stringifyExactJson(value);
  return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
}
