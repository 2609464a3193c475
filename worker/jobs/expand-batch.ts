import { isJsonObject, type Json, type JsonObject } from "#contract/exact-json";
import { BATCH_JOBS_MAX } from "#contract/limits";
import { Problem } from "#contract/problems";
import { jsonPointer } from "#worker/http/field-errors";

/** The inputs of one job of a batch, as they were sent. */
export interface BatchEntry {
  readonly sent: JsonObject;
  /** JSON Pointer into the request's body of one of its inputs. */
  readonly pathOf: (name: string) => string;
}

/**
 * The jobs a batch asks for, in its order: one for each item of a list, or one for each combination of a sweep, made
 * one after the other as they are read.
 * @param document the request's body, which fits NewBatch, with every digit
 * @throws Problem invalid_batch when it is neither or both, or has too many combinations
 */
export function expandBatch(document: JsonObject): Iterable<BatchEntry> {
  const { inputs, sweep } = document;
  if (isJsonObject(sweep)) {
    if (Array.isArray(inputs)) {
      throw refused("/inputs", "Must be an object, which the sweep's jobs share, or give a list without a sweep.");
    }
    return sweepEntries(isJsonObject(inputs) ? inputs : {}, valuesOf(sweep));
  }
  if (!Array.isArray(inputs)) {
    throw refused("/inputs", "Must be a list with the inputs of each job; or name in `sweep` what varies.");
  }
  return inputs.filter(isJsonObject).map((sent, index) => ({
    sent,
    pathOf: (name: string) => jsonPointer(["inputs", index, name]),
  }));
}

function valuesOf(sweep: JsonObject): ReadonlyMap<string, readonly Json[]> {
  return new Map(Object.entries(sweep).map(([name, values]) => [name, Array.isArray(values) ? values : []]));
}

function sweepEntries(shared: JsonObject, sweep: ReadonlyMap<string, readonly Json[]>): Iterable<BatchEntry> {
  if (sweep.size === 0) throw refused("/sweep", "Must name at least one input.");
  for (const name of sweep.keys()) {
    if (Object.hasOwn(shared, name)) throw refused(jsonPointer(["sweep", name]), "Is among the shared inputs as well.");
  }
  const total = [...sweep.values()].reduce((product, values) => product * values.length, 1);
  if (total > BATCH_JOBS_MAX) {
    const many = Number.isSafeInteger(total) ? String(total) : "more than 10^15";
    throw refused("/sweep", `Has ${many} combinations; a batch takes ${BATCH_JOBS_MAX} jobs.`);
  }
  return combinations(shared, sweep, total);
}

function* combinations(
  shared: JsonObject,
  sweep: ReadonlyMap<string, readonly Json[]>,
  total: number,
): Generator<BatchEntry> {
  const slowToFast = [...sweep];
  for (let index = 0; index < total; index += 1) {
    const sent: JsonObject = Object.assign(Object.create(null), shared);
    const places = new Map<string, number>();
    let rest = index;
    for (const [name, values] of slowToFast.toReversed()) {
      const place = rest % values.length;
      rest = Math.floor(rest / values.length);
      sent[name] = values[place] ?? null;
      places.set(name, place);
    }
    yield {
      sent,
      pathOf: (name) => {
        const place = places.get(name);
        return jsonPointer(place === undefined ? ["inputs", name] : ["sweep", name, place]);
      },
    };
  }
}

function refused(path: string, reason: string): Problem {
  return new Problem("invalid_batch", `${path}: ${reason}`, { errors: [{ path, reason }] });
}
