/** How far a build is: written after each finished step, so that a killed agent's successor goes on from there. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { BuildManifest } from "#contract/build";
import { Sha256 } from "#contract/job";
import { writeFileAtomically } from "../state-directory.ts";
import type { BuildStep } from "./build-failed.ts";

const JOURNAL = "journal.json";
const MARKER = "build.json";

/** A finished step, or a finished pack of the step `nodes` (`nodes/<name>`). */
export const FinishedStep = z.strictObject({ step: z.string(), ms: z.int().nonnegative() });
export type FinishedStep = z.infer<typeof FinishedStep>;

const Journal = z.strictObject({
  /** What is being made now: other agents that wait for it show it. */
  doing: z.string(),
  finished: z.array(FinishedStep),
  /** What the steps found out, for the marker. */
  facts: z.record(z.string(), z.json()),
});

/** The file that makes a folder a build. */
export const BuildMarker = z.strictObject({
  digest: Sha256,
  manifest: BuildManifest,
  madeAt: z.iso.datetime(),
  steps: z.array(FinishedStep),
  /** What was checked while it was made: the interpreter, the packages that the environment holds, archives' hashes. */
  facts: z.record(z.string(), z.json()),
});
export type BuildMarker = z.infer<typeof BuildMarker>;

export class BuildJournal {
  readonly #folder: string;
  readonly #journal: z.infer<typeof Journal>;

  /** The journal of a folder; an empty one where there is none, or where it cannot be read. */
  static async open(folder: string): Promise<BuildJournal> {
    return new BuildJournal(folder, await readJournal(folder));
  }

  private constructor(folder: string, journal: z.infer<typeof Journal>) {
    this.#folder = folder;
    this.#journal = journal;
  }

  get finished(): readonly FinishedStep[] {
    return this.#journal.finished;
  }

  get facts(): Readonly<Record<string, z.core.util.JSONType>> {
    return this.#journal.facts;
  }

  has(step: string): boolean {
    return this.#journal.finished.some((each) => each.step === step);
  }

  async begin(step: BuildStep): Promise<void> {
    this.#journal.doing = step;
    await this.#write();
  }

  async finish(step: string, ms: number, facts: Readonly<Record<string, z.core.util.JSONType>> = {}): Promise<void> {
    this.#journal.finished.push({ step, ms: Math.round(ms) });
    Object.assign(this.#journal.facts, facts);
    await this.#write();
  }

  #write(): Promise<void> {
    return writeFileAtomically(join(this.#folder, JOURNAL), JSON.stringify(this.#journal), 0o600);
  }
}

async function readJournal(folder: string): Promise<z.infer<typeof Journal>> {
  try {
    return Journal.parse(JSON.parse(await readFile(join(folder, JOURNAL), "utf8")));
  } catch {
    return { doing: "", finished: [], facts: {} };
  }
}

/** The step that somebody else makes now, or "" when that cannot be told. */
export function stepOf(folder: string): string {
  try {
    return Journal.parse(JSON.parse(readFileSync(join(folder, JOURNAL), "utf8"))).doing;
  } catch {
    return "";
  }
}

export function writeMarker(folder: string, marker: BuildMarker): Promise<void> {
  return writeFileAtomically(join(folder, MARKER), JSON.stringify(marker, null, 2), 0o600);
}

/** @returns null where there is no whole build */
export async function readMarker(folder: string): Promise<BuildMarker | null> {
  try {
    return BuildMarker.parse(JSON.parse(await readFile(join(folder, MARKER), "utf8")));
  } catch {
    return null;
  }
}
