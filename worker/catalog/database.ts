import { type DrizzleD1Database, drizzle } from "drizzle-orm/d1";
import * as schema from "#migrations/catalog/schema";

export type Catalog = DrizzleD1Database<typeof schema>;

export function catalogOf(database: D1Database): Catalog {
  return drizzle(database, { schema });
}

/** True when a statement broke a uniqueness rule: somebody else was first. */
export function isUniqueViolation(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (/UNIQUE constraint failed|SQLITE_CONSTRAINT_(?:UNIQUE|PRIMARYKEY)/.test(cause.message)) return true;
  }
  return false;
}
