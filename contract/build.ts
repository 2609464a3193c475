/**
 * A build: everything but the workflow that a release needs on a GPU, pinned so that the same one can be made again
 * anywhere. Field names are those of comfy-cli's `distribution-definition/0`; what that leaves out is added beside them.
 * A build is named by its digest, and a machine keeps one directory for each.
 */
import * as z from "zod";
import { Sha256 } from "#contract/job";

/** A whole commit: a branch or a tag may point elsewhere tomorrow. */
export const GitCommit = z.string().regex(/^[0-9a-f]{40}$/, "40 lower-case hexadecimal digits: the whole commit");

/** A manifest as JSON: the bound of a request's body, and hundreds of times an honest build. */
export const BUILD_BYTES_MAX = 1_048_576;

/** A manifest is shared, kept and hashed: a password in an address would be so too. */
const hasNoPassword = (address: string): boolean => !/^[a-z+]+:\/\/[^/?#]*@/i.test(address);
const NO_PASSWORD = "no user name or password: the machine that fetches has its own";

/** Where git can fetch from. `file:` serves machines without a network, and tests. */
export const RepositoryUrl = z
  .string()
  .max(2_000)
  .regex(/^(https|file):\/\/\S+$/, "an https:// or file:// address")
  .refine(hasNoPassword, NO_PASSWORD);

/** A folder below `models`, as ComfyUI names it. */
export const ModelType = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, "a folder's name, such as checkpoints");

/**
 * A path below that folder, with `/` between its parts. Neither absolute nor upwards: it is joined to a folder of the
 * machine.
 */
export const ModelFilename = z
  .string()
  .max(255)
  .regex(/^[^\u0000-\u001f\\:/]+(\/[^\u0000-\u001f\\:/]+)*$/, "a file's name, in folders if need be, with / between")
  .refine((name) => name.split("/").every((part) => !/^\.|^\s|[\s.]$/.test(part)), "no part may begin with a dot");

/**
 * Where a model's bytes can be had, in the order in which they are tried. `https:` as it is; `hf:owner/name@revision/path`;
 * `civitai:<version id>`; `registry:`, the workspace's own store, by hash.
 */
export const ModelSource = z
  .string()
  .max(2_000)
  .regex(/^(https:\/\/\S+|hf:[^\s@/]+\/[^\s@/]+@[^\s/]+\/\S+|civitai:[0-9]+|registry:|file:\/\/\S+)$/)
  .refine(hasNoPassword, NO_PASSWORD);

/** Characters of one line of the lock: a package with a hash for each of its hundred wheels. */
const PIP_LINE_LENGTH_MAX = 10_000;

/**
 * One line of a requirements file that allows one package only: `name==version`, or `name @ address` of a file or of a
 * whole commit; markers and hashes may follow. Never an option of pip's own: those could read files or leave the lock.
 */
export const PipRequirement = z
  .string()
  .max(PIP_LINE_LENGTH_MAX)
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]*\])?(?: *={2,3} *[A-Za-z0-9.!+_-]+| *@ *(?:https:\/\/|file:\/\/|git\+https:\/\/[^\s;]+@[0-9a-f]{40}(?=$|[#\s]))[^\s;]*)(?: *;(?:(?!--)[^\u0000-\u001f])*)?(?: --hash=sha(?:256|384|512):[0-9a-f]+)*$/,
    "name==version, or name @ address",
  )
  .refine((line) => !line.includes("${"), "no variables: pip would put its own environment in")
  .refine((line) => hasNoPassword(line.replace(/^[^@]*@ *(?:git\+)?/, "")), NO_PASSWORD);

export const BuildModel = z.strictObject({
  type: ModelType,
  filename: ModelFilename,
  sha256: Sha256,
  sizeBytes: z.int().nonnegative(),
  /** comfy-cli's `sourceUri` is the first of them. */
  sources: z.array(ModelSource).max(10),
});
export type BuildModel = z.infer<typeof BuildModel>;

/** A folder below `custom_nodes`, or the name of a pack in the Comfy registry. */
export const CustomNodeName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "a folder's name");

export const BuildCustomNode = z.union([
  z.strictObject({ name: CustomNodeName, repository: RepositoryUrl, gitRef: GitCommit }),
  z.strictObject({ name: CustomNodeName, id: CustomNodeName, registryVersion: z.string().min(1).max(100) }),
]);
export type BuildCustomNode = z.infer<typeof BuildCustomNode>;

export const BuildManifest = z
  .strictObject({
    schema: z.literal("distribution-definition/0"),
    /** Such as 0.33.0. */
    baseComfyVersion: z.string().max(100),
    comfyRepository: RepositoryUrl,
    comfyCommit: GitCommit,
    environment: z.strictObject({
      os: z.string().max(40),
      arch: z.string().max(40),
      /** Such as 3.11. */
      pythonVersion: z.string().regex(/^3\.[0-9]{1,2}(\.[0-9]{1,3})?$/),
      torch: z.string().max(100).nullable(),
    }),
    /** The lock: one line of a requirements file each, all of them exact. */
    pipDependencies: z.array(PipRequirement).max(2_000),
    /** Where pip looks, besides wheels named by address. Empty: its own index. */
    pipIndexes: z
      .array(
        z
          .string()
          .max(2_000)
          .regex(/^(https|file):\/\/\S+$/)
          .refine(hasNoPassword, NO_PASSWORD),
      )
      .max(10),
    customNodes: z.array(BuildCustomNode).max(200),
    models: z.array(BuildModel).max(1_000),
    launch: z.strictObject({
      /** ComfyUI's own flags, but those with which the agent isolates it. */
      flags: z.array(z.string().min(1).max(200)).max(50),
      cache: z.enum(["default", "classic", "lru", "none", "ram"]),
    }),
  })
  .superRefine(({ customNodes, models }, context) => {
    // Two of them would lie in one another's place; some disks do not tell capitals apart.
    for (const index of repeatedIn(customNodes.map(({ name }) => name.toLowerCase()))) {
      const message = "another custom node lies in a folder of that name";
      context.addIssue({ code: "custom", path: ["customNodes", index, "name"], message });
    }
    for (const index of repeatedIn(models.map(({ type, filename }) => `${type}/${filename}`))) {
      const message = "another model lies at that place";
      context.addIssue({ code: "custom", path: ["models", index, "filename"], message });
    }
  })
  .meta({ id: "BuildManifest" });
export type BuildManifest = z.infer<typeof BuildManifest>;

/** Places of what a list has named before. */
function repeatedIn(names: readonly string[]): number[] {
  const seen = new Set<string>();
  return names.flatMap((name, index) => {
    const isNew = !seen.has(name);
    seen.add(name);
    return isNew ? [] : [index];
  });
}

/** One run that shows that a release works where it is: the graph with its defaults, and what must come out. */
export const SmokeTest = z
  .strictObject({
    /** Values of inputs, by name; a file input gets a small file of its kind that the agent makes. */
    inputs: z.record(z.string(), z.unknown()),
    /** Names of outputs that must come; empty: at least one, of any name. */
    outputs: z.array(z.string().max(64)).max(100),
  })
  .meta({ id: "SmokeTest" });
export type SmokeTest = z.infer<typeof SmokeTest>;

/** What a standalone package of a release holds besides the build: together they are all that a machine must be given. */
export const StandaloneRelease = z
  .strictObject({
    build: BuildManifest,
    /** API format, exact JSON text. */
    workflow: z.string(),
    /** JSON Schema 2020-12 of the inputs. */
    schema: z.record(z.string(), z.unknown()),
    /** What /object_info says of the graph's classes, exact JSON text; null: it was not known. */
    objectInfo: z.string().nullable(),
    smokeTest: SmokeTest,
  })
  .meta({ id: "StandaloneRelease" });
export type StandaloneRelease = z.infer<typeof StandaloneRelease>;

/**
 * The text that is hashed: JSON with every object's keys in order, and lists whose order means nothing sorted, so that
 * the same build has the same digest whoever wrote it down.
 */
export function canonicalBuild(manifest: BuildManifest): string {
  const byText = <T>(list: readonly T[]): T[] =>
    list.toSorted((one, other) => (canonicalJson(one) < canonicalJson(other) ? -1 : 1));
  return canonicalJson({
    ...manifest,
    pipDependencies: manifest.pipDependencies.toSorted(),
    customNodes: byText(manifest.customNodes),
    // Where the bytes come from does not change them.
    models: byText(manifest.models.map(({ sources: _, ...model }) => model)),
  });
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .toSorted(([one], [other]) => (one < other ? -1 : 1));
  return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}

/** sha256 of the canonical text, hexadecimal: the build's name. */
export async function buildDigest(manifest: BuildManifest): Promise<string> {
  const bytes = new TextEncoder().encode(canonicalBuild(manifest));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
