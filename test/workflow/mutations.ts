/** Damages documents as programs and people do: things are lost, doubled, renamed, moved, or become something else. */
import fc from "fast-check";
import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";

export interface Mutation {
  readonly kind: "delete" | "duplicate" | "replace" | "rename" | "move" | "nest" | "swap";
  /** Which of all places of the document, counted around. */
  readonly at: number;
  readonly other: number;
  readonly value: Json;
}

/** Values that stand where others are expected, names of JavaScript's own among them. */
const strange: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    null,
    true,
    false,
    -1,
    0,
    2,
    4,
    -10,
    -20,
    1e308,
    0.5,
    2n ** 64n,
    -(2n ** 70n),
    Number.NaN,
    Number.POSITIVE_INFINITY,
    "",
    "__proto__",
    "constructor",
    "toString",
    "*",
    "-10",
    "PrimitiveNode",
    "Reroute",
    "GetNode",
    "SetNode",
    "KSampler",
    "SaveImage",
    "workflow>x",
    "\u0000",
    "\ud800",
    "x".repeat(5_000),
  ),
  fc.constant<Json>([]),
  fc.constant<Json>({}),
  fc.constant<Json>([[[[[[]]]]]]),
  fc.constant<Json>({ __proto__: null, constructor: 1, length: -1 }),
  fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>,
);

export const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("delete", "duplicate", "replace", "replace", "rename", "move", "nest", "swap"),
  at: fc.nat(),
  other: fc.nat(),
  value: strange,
});

interface Place {
  readonly holder: Json[] | JsonObject;
  readonly key: string | number;
}

/** A copy of a document with all mutations applied, one after another. */
export function mutated(document: Json, mutations: readonly Mutation[]): Json {
  const copy = clone(document);
  for (const each of mutations) mutate(copy, each);
  return copy;
}

/** Places of a document that is still made larger: copies of copies would soon be all there is. */
const PLACES_MAX = 20_000;

function mutate(document: Json, { kind, at, other, value }: Mutation): void {
  const places = placesOf(document);
  if (places.length > PLACES_MAX) return;
  const place = places[at % Math.max(places.length, 1)];
  const second = places[other % Math.max(places.length, 1)];
  if (place === undefined || second === undefined) return;
  const { holder, key } = place;
  const before = get(place);
  switch (kind) {
    case "delete":
      remove(place);
      break;
    case "duplicate":
      if (Array.isArray(holder)) holder.push(clone(before));
      else set({ holder, key: `${key}2` }, clone(before));
      break;
    case "replace":
      // A copy, since what is done to it later must not be seen by the next run.
      set(place, clone(value));
      break;
    case "rename":
      if (Array.isArray(holder)) set(place, nameOf(value));
      else {
        remove(place);
        set({ holder, key: nameOf(value) }, before);
      }
      break;
    case "move":
      set(place, clone(get(second)));
      break;
    case "nest":
      set(place, [clone(before)]);
      break;
    case "swap":
      set(place, clone(get(second)));
      set(second, clone(before));
      break;
    default:
      throw new Error(`unhandled: ${JSON.stringify(kind satisfies never)}`);
  }
}

function remove({ holder, key }: Place): void {
  if (Array.isArray(holder)) holder.splice(Number(key), 1);
  else delete holder[key];
}

function nameOf(value: Json): string {
  return typeof value === "object" ? "constructor" : String(value);
}

/** Everything in a document, in order. */
function placesOf(document: Json): Place[] {
  const places: Place[] = [];
  const open: Json[] = [document];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (Array.isArray(value)) {
      for (const [key, item] of value.entries()) {
        places.push({ holder: value, key });
        open.push(item);
      }
    } else if (isJsonObject(value)) {
      for (const [key, item] of Object.entries(value)) {
        places.push({ holder: value, key });
        open.push(item);
      }
    }
  }
  return places;
}

function get({ holder, key }: Place): Json {
  return (Array.isArray(holder) ? holder[Number(key)] : holder[key]) ?? null;
}

function set({ holder, key }: Place, value: Json): void {
  if (Array.isArray(holder)) holder[Number(key)] = value;
  else Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
}

function clone(value: Json): Json {
  if (Array.isArray(value)) return value.map(clone);
  if (!isJsonObject(value)) return value;
  const copy = Object.create(null) as JsonObject;
  for (const [key, item] of Object.entries(value)) copy[key] = clone(item);
  return copy;
}
