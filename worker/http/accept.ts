/** What an Accept header (RFC 9110, 12.5.1) asks for besides JSON. Pure. */

interface Range {
  /** Above 0, at most 1; 0 excludes. */
  readonly weight: number;
  /** Its place in the header, from 0. */
  readonly place: number;
}

/** The media ranges of a header that names media, by their lower-case names; parameters are dropped. */
export type AcceptedMedia = ReadonlyMap<string, Range>;

const JSON_TYPE = "application/json";
const EVENTS_TYPE = "text/event-stream";
/** Types of our own answers. A file of such a type could not be told from one of them. */
const OWN_TYPES: readonly string[] = [JSON_TYPE, "application/problem+json", EVENTS_TYPE];
/** What most clients send; not worth reading. */
const WITHOUT_MEDIA: readonly (string | null)[] = [null, "*/*", JSON_TYPE];

/** As the RFC has it, and `.2` without its zero, as Java writes it. */
const WEIGHT = /^(?:0|1|0?\.[0-9]{1,3}|0\.|1\.0{0,3})$/;

/**
 * The ranges of a header that asks for media by name: for more than JSON, problems, events and what there is.
 * @param header of any content; ranges that cannot be read are left out
 * @returns undefined when it asks for no media: the answer is JSON
 */
export function acceptedMedia(header: string | null): AcceptedMedia | undefined {
  if (WITHOUT_MEDIA.includes(header)) return undefined;
  const ranges = rangesOf(header ?? "");
  for (const [name, { weight }] of ranges) {
    if (weight > 0 && name !== "*/*" && !OWN_TYPES.includes(name)) return ranges;
  }
  return undefined;
}

/**
 * The item that the header likes best, the first among equals. JSON is one of the choices where it is named: it wins over
 * what weighs less, and over what weighs the same and is named after it. A wildcard over everything takes JSON as well,
 * so nothing is chosen by it.
 * @param typeOf an item's media type, lower-case; parameters are dropped
 * @returns undefined when JSON is the answer
 */
export function firstAccepted<Item>(
  accepted: AcceptedMedia,
  items: readonly Item[],
  typeOf: (item: Item) => string,
): Item | undefined {
  const json = accepted.get(JSON_TYPE);
  let best: Item | undefined;
  let bestWeight = 0;
  for (const item of items) {
    const range = rangeFor(accepted, typeOf(item));
    if (range === undefined || range.weight <= bestWeight) continue;
    if (
      json !== undefined &&
      (json.weight > range.weight || (json.weight === range.weight && json.place < range.place))
    )
      continue;
    best = item;
    bestWeight = range.weight;
  }
  return best;
}

/** True when the header asks for events by name; a wildcard gets JSON. */
export function acceptsEvents(header: string | null): boolean {
  if (WITHOUT_MEDIA.includes(header)) return false;
  return (rangesOf(header ?? "").get(EVENTS_TYPE)?.weight ?? 0) > 0;
}

/** The most specific range a type is in: `image/png` counts before `image/*`, which excludes nothing that is named. */
function rangeFor(accepted: AcceptedMedia, type: string): Range | undefined {
  const name = type.split(";", 1)[0]?.trim() ?? "";
  if (OWN_TYPES.includes(name)) return undefined;
  return accepted.get(name) ?? accepted.get(`${name.slice(0, name.indexOf("/"))}/*`);
}

/** Ranges by name. Of a name that comes twice the first counts; names are not checked, because no type is like a wrong one. */
function rangesOf(header: string): Map<string, Range> {
  const ranges = new Map<string, Range>();
  for (const [place, part] of header.split(",").entries()) {
    const [type = "", ...parameters] = part.split(";");
    const name = type.trim().toLowerCase();
    const weight = weightOf(parameters);
    if (weight !== undefined && name.includes("/") && !ranges.has(name)) ranges.set(name, { weight, place });
  }
  return ranges;
}

/** The parameter q; 1 without one, undefined when it is no weight. */
function weightOf(parameters: readonly string[]): number | undefined {
  for (const parameter of parameters) {
    const text = parameter.trim();
    if (text.startsWith("q=") || text.startsWith("Q=")) {
      const value = text.slice(2);
      return WEIGHT.test(value) ? Number(value) : undefined;
    }
  }
  return 1;
}
