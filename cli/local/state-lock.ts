import { DatabaseSync } from "node:sqlite";

/** Held for as long as the process lives or until it lets go. */
export interface StateLock {
  release(): void;
}

/**
 * Takes the one lock of a state folder. It is a file lock of the operating system, taken through SQLite because Node has
 * no call for it: it dies with its process, so that a kill -9 leaves nothing stale behind.
 * @returns null when a living process holds it
 */
export function takeStateLock(path: string): StateLock | null {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (error instanceof Error && /locked|busy/i.test(error.message)) return null;
    throw error;
  }
  return { release: () => database.close() };
}
