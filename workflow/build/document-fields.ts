/** Fields of a foreign document, by type; what has another one is noted with its place, and reading goes on. */
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import type { FieldError } from "#contract/problems";
import { type BuildFault, buildFault } from "./draft.ts";

const TEXT_LENGTH_MAX = 10_000;
/** Places listed of one document: who has more wrong ones sent another kind of file. */
const FAULTS_MAX = 50;

export class DocumentFields {
  readonly #errors: FieldError[] = [];

  fault(path: string, reason: string): void {
    if (this.#errors.length < FAULTS_MAX) this.#errors.push({ path, reason });
  }

  /** A text field; null where it is missing, null or blank. */
  text(object: JsonObject, path: string, key: string): string | null {
    const value = object[key];
    if (value === undefined || value === null) return null;
    if (typeof value === "number" || typeof value === "bigint") {
      this.fault(`${path}/${escaped(key)}`, `must be text: write "${value}" in quotes, since 3.10 without them is 3.1`);
      return null;
    }
    if (typeof value !== "string") {
      this.fault(`${path}/${escaped(key)}`, "must be text");
      return null;
    }
    if (value.length > TEXT_LENGTH_MAX) {
      this.fault(`${path}/${escaped(key)}`, `must have at most ${TEXT_LENGTH_MAX} characters`);
      return null;
    }
    return value.trim() === "" ? null : value.trim();
  }

  /** A number of bytes; null where it is missing. */
  size(object: JsonObject, path: string, key: string): number | null {
    const value = object[key];
    if (value === undefined || value === null) return null;
    const number = typeof value === "string" && /^[0-9]{1,16}$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
    this.fault(`${path}/${escaped(key)}`, "must be a whole number of bytes");
    return null;
  }

  /** A list of objects with their places; empty where it is missing. Entries of other types are faults. */
  objects(object: JsonObject, path: string, key: string, most: number): [JsonObject, string][] {
    return this.list(object, path, key, most).flatMap(([item, at]): [JsonObject, string][] => {
      if (isJsonObject(item)) return [[item, at]];
      this.fault(at, "must be an object");
      return [];
    });
  }

  /** A list of texts; empty where it is missing. */
  texts(object: JsonObject, path: string, key: string, most: number): string[] {
    return this.list(object, path, key, most).flatMap(([item, at]) => {
      if (typeof item === "string" && item.length <= TEXT_LENGTH_MAX) return [item];
      this.fault(at, "must be text");
      return [];
    });
  }

  /** A mapping's entries with their places; empty where it is missing. */
  entries(object: JsonObject, path: string, key: string, most: number): [string, Json, string][] {
    const value = object[key];
    if (value === undefined || value === null) return [];
    const at = `${path}/${escaped(key)}`;
    if (!isJsonObject(value)) {
      this.fault(at, "must be an object");
      return [];
    }
    const entries = Object.entries(value);
    if (entries.length > most) this.fault(at, `has ${entries.length} entries; ${most} are the most`);
    return entries.slice(0, most).flatMap(([name, item]): [string, Json, string][] => {
      const place = `${at}/${escaped(name)}`;
      if (name.length <= TEXT_LENGTH_MAX) return [[name, item, place]];
      this.fault(place, `must have a name of at most ${TEXT_LENGTH_MAX} characters`);
      return [];
    });
  }

  /** An object below; undefined where it is missing. */
  object(object: JsonObject, path: string, key: string): JsonObject | undefined {
    const value = object[key];
    if (value === undefined || value === null || isJsonObject(value)) return value ?? undefined;
    this.fault(`${path}/${escaped(key)}`, "must be an object");
    return undefined;
  }

  /** @param what the document in words, such as "The snapshot" */
  refusal(what: string): BuildFault | undefined {
    const [first] = this.#errors;
    if (first === undefined) return undefined;
    return buildFault(`${what} cannot be read: ${first.path}: ${first.reason}.`, this.#errors);
  }

  private list(object: JsonObject, path: string, key: string, most: number): [Json, string][] {
    const value = object[key];
    if (value === undefined || value === null) return [];
    const at = `${path}/${escaped(key)}`;
    if (!Array.isArray(value)) {
      this.fault(at, "must be a list");
      return [];
    }
    if (value.length > most) this.fault(at, `has ${value.length} entries; ${most} are the most`);
    return value.slice(0, most).map((item, index) => [item, `${at}/${index}`]);
  }
}

/** A name as a part of a JSON Pointer. */
function escaped(name: string): string {
  return name.slice(0, 200).replaceAll("~", "~0").replaceAll("/", "~1");
}
