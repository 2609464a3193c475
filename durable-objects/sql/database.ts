/**
 * The little of SQL that the objects' cores need, so that they run over a Durable Object's storage and over node:sqlite
 * alike. Everything is synchronous: an `await` between a read and a write would let another request in between.
 */

export type SqlValue = string | number | null;
export type SqlRow = Readonly<Record<string, SqlValue>>;

export interface SqlDatabase {
  /** Runs one statement and returns all of its rows. */
  exec(sql: string, ...bindings: SqlValue[]): SqlRow[];
  /** Runs `work` as one commit; a throw undoes all of it. May be nested. */
  transaction<T>(work: () => T): T;
  /** Bytes that are in use; what was deleted is not. */
  bytesStored(): number;
  /** The most it can store: beyond that, writes fail. */
  readonly bytesMax: number;
}

/** Time and chance, handed in so that tests can turn the clock and repeat the dice. */
export interface World {
  /** Unix ms. */
  now(): number;
  randomBytes(length: number): Uint8Array;
}

/** A uniform number in [0, 1) from the world's dice. */
export function chance(world: World): number {
  return world.randomBytes(4).reduce((sum, byte) => sum * 256 + byte, 0) / 2 ** 32;
}

/** @throws TypeError when the column is not text: the schema and the reader disagree. */
export function text(row: SqlRow, column: string): string {
  const value = row[column];
  if (typeof value !== "string") throw new TypeError(`${column} is not text`);
  return value;
}

export function textOrNull(row: SqlRow, column: string): string | null {
  return row[column] === null ? null : text(row, column);
}

/** @throws TypeError when the column is not a number. */
export function integer(row: SqlRow, column: string): number {
  const value = row[column];
  if (typeof value !== "number") throw new TypeError(`${column} is not a number`);
  return value;
}

export function integerOrNull(row: SqlRow, column: string): number | null {
  return row[column] === null ? null : integer(row, column);
}

/** The moment that a query has found as `due`; null when it has found none. */
export function dueOf([row]: readonly SqlRow[]): number | null {
  return row === undefined ? null : integerOrNull(row, "due");
}

/** JSON that this code wrote itself, so its shape is trusted. */
export function stored<T>(row: SqlRow, column: string): T {
  return JSON.parse(text(row, column)) as T;
}

export function storedOrNull<T>(row: SqlRow, column: string): T | null {
  const value = textOrNull(row, column);
  return value === null ? null : (JSON.parse(value) as T);
}
