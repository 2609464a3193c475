/**
 * A lock that processes of one machine share, and that a killed process cannot keep.
 *
 * A lock is a row of numbered files, and the highest number counts. Whoever finds it free, or its holder gone, links the
 * next number: one alone can. The highest file is never deleted, so numbers only grow; that is what makes taking over
 * from a dead holder safe, where deleting and making anew is not.
 */
import { randomUUID } from "node:crypto";
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { pause } from "../control/backoff.ts";
import { isSameProcess, ProcessIdentity, processIdentity } from "../process-identity.ts";
import { isCode } from "../state-directory.ts";

const POLL_MS = 200;
/** Files of earlier holders that stay: whoever has just read the list still finds the number that he wants to link. */
const NUMBERS_KEPT = 16;

/** Null: it has been given back. */
const LockFile = z.strictObject({ holder: ProcessIdentity.nullable() });

/** Gives the lock back. */
export type Unlock = () => void;

/**
 * Takes the lock if it is free.
 * @param folder where the lock's files lie
 * @returns null when a living process holds it; this one included
 */
export function tryLock(folder: string, name: string): Unlock | null {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (;;) {
    const numbers = numbersOf(folder, name);
    const highest = Math.max(0, ...numbers);
    if (highest > 0 && isHeld(join(folder, `${name}.${highest}`))) return null;
    const mine = highest + 1;
    const path = join(folder, `${name}.${mine}`);
    if (!writeExclusively(folder, path)) continue;
    // Listed long ago, linked only now: the lock has gone through other hands since.
    if (numbersOf(folder, name).some((number) => number > mine)) {
      rmSync(path, { force: true });
      continue;
    }
    for (const number of numbers) {
      if (number <= mine - NUMBERS_KEPT) rmSync(join(folder, `${name}.${number}`), { force: true });
    }
    return () => writeWhole(folder, path, { holder: null });
  }
}

/**
 * Waits until the lock is free, and takes it.
 * @param onWait called at every look at a lock that somebody holds
 * @throws the signal's reason
 */
export async function waitForLock(
  folder: string,
  name: string,
  signal: AbortSignal,
  onWait: () => void,
): Promise<Unlock> {
  for (;;) {
    signal.throwIfAborted();
    const unlock = tryLock(folder, name);
    if (unlock !== null) return unlock;
    onWait();
    await pause(POLL_MS, signal);
  }
}

function numbersOf(folder: string, name: string): number[] {
  return readdirSync(folder).flatMap((file) => numberOf(file, name) ?? []);
}

function numberOf(file: string, name: string): number | null {
  if (!file.startsWith(`${name}.`)) return null;
  const number = Number(file.slice(name.length + 1));
  return Number.isSafeInteger(number) && number > 0 ? number : null;
}

function isHeld(path: string): boolean {
  try {
    const { holder } = LockFile.parse(JSON.parse(readFileSync(path, "utf8")));
    return holder !== null && isSameProcess(holder);
  } catch {
    // Replaced by a higher number meanwhile, which the exclusive link then finds; or not a lock's content at all.
    return false;
  }
}

/** @returns false when the name is taken; a name never shows a half-written file */
function writeExclusively(folder: string, path: string): boolean {
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  writeFileSync(temporary, JSON.stringify({ holder: processIdentity(process.pid) }), { mode: 0o600 });
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if (isCode(error, "EEXIST")) return false;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

function writeWhole(folder: string, path: string, content: z.infer<typeof LockFile>): void {
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  writeFileSync(temporary, JSON.stringify(content), { mode: 0o600 });
  renameSync(temporary, path);
}
