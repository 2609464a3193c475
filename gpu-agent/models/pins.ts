/**
 * Pins: models that a living process needs and that nothing may evict, under a name (a build's digest). They are files,
 * so that another agent on the machine respects them, and each carries its process, so that those of a crashed one are
 * worth nothing.
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { isSameProcess, ProcessIdentity, processIdentity } from "../process-identity.ts";
import { isCode, writeFileAtomically } from "../state-directory.ts";

const PinFile = z.strictObject({ process: ProcessIdentity, sha256: z.array(z.string()) });

export class Pins {
  readonly #folder: string;
  /** Two stores in one process keep their pins apart. */
  readonly #suffix = `${process.pid}.${randomUUID()}`;
  readonly #mine = new Map<string, Set<string>>();
  /** Files are written one after the other, so that the last one says what holds. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @param name letters, digits, - and _ @throws RangeError */
  async add(name: string, sha256: string): Promise<void> {
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a pin`);
    const pinned = this.#mine.get(name) ?? new Set();
    if (pinned.has(sha256)) return this.#settled();
    this.#mine.set(name, pinned.add(sha256));
    await this.#write(name);
  }

  async remove(name: string): Promise<void> {
    if (this.#mine.delete(name)) await this.#write(name);
  }

  /** Everything that any living process has pinned. Deletes the files of those that have ended. */
  async all(): Promise<ReadonlySet<string>> {
    const pinned = new Set<string>();
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name);
      if (!name.endsWith(".json")) {
        if (isLeftover(name)) await rm(path, { force: true });
        continue;
      }
      const file = await readPins(path);
      if (file === null) continue;
      if (isSameProcess(file.process)) for (const sha256 of file.sha256) pinned.add(sha256);
      else await rm(path, { force: true });
    }
    return pinned;
  }

  async #write(name: string): Promise<void> {
    const path = join(this.#folder, `${name}.${this.#suffix}.json`);
    const written = this.#writing.then(async () => {
      const pinned = this.#mine.get(name);
      if (pinned === undefined) return rm(path, { force: true });
      const content = JSON.stringify({ process: processIdentity(process.pid), sha256: [...pinned] });
      await writeFileAtomically(path, content, 0o600);
    });
    this.#writing = written.catch(() => undefined);
    await written;
  }

  async #settled(): Promise<void> {
    await this.#writing;
  }
}

/** A file that a process was writing when it ended. */
function isLeftover(name: string): boolean {
  const writer = Number(/\.json\.([1-9][0-9]*)\.tmp$/.exec(name)?.[1] ?? 0);
  return writer > 0 && processIdentity(writer).started === null;
}

/** Null when it is gone, or was half written when the power went; its process is gone then as well. */
async function readPins(path: string): Promise<z.infer<typeof PinFile> | null> {
  try {
    return PinFile.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    if (isCode(error, "ENOENT") || error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}
