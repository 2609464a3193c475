/** How examples/arrivals.csv was made: two days of a small picture service, from a seed. */
import { seededChance } from "#durable-objects/autoscaler/replay/seeded-chance";

const SEED = 5;
const DAYS = 2;
const HOUR_S = 3_600;
/** People come most in the afternoon, hardly at night, and try several times in a row. */
const VISITS_PER_HOUR_AT_NOON = 9;
const TRIES_MEAN = 4;
const BETWEEN_TRIES_S = 25;
const SERVICE_MEDIAN_S = 8;
const SERVICE_SIGMA = 0.4;
/** Every night at two a job of this many pictures. */
const NIGHTLY_BATCH = 40;

/** The file's text. */
export function exampleArrivals(): string {
  const chance = seededChance(SEED);
  const exponential = (mean: number) => -mean * Math.log(1 - chance());
  const normal = () => Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance());
  const serviceS = () => SERVICE_MEDIAN_S * Math.exp(SERVICE_SIGMA * normal());
  const rows: { t: number; serviceS: number; lane: string }[] = [];
  let t = 0;
  for (;;) {
    // Thinning: visits at the rate of noon, of which the hour of the day lets some pass.
    t += exponential(HOUR_S / VISITS_PER_HOUR_AT_NOON);
    if (t >= DAYS * 24 * HOUR_S) break;
    const hour = (t / HOUR_S) % 24;
    if (chance() > 0.03 + 0.97 * Math.max(0, Math.sin(((hour - 7) / 16) * Math.PI)) ** 2) continue;
    let at = t;
    const tries = 1 + Math.floor(exponential(TRIES_MEAN - 1));
    for (let each = 0; each < tries; each += 1) {
      rows.push({ t: at, serviceS: serviceS(), lane: "interactive" });
      at += exponential(BETWEEN_TRIES_S);
    }
  }
  for (let day = 0; day < DAYS; day += 1) {
    for (let each = 0; each < NIGHTLY_BATCH; each += 1) {
      rows.push({ t: (day * 24 + 2) * HOUR_S + each, serviceS: serviceS(), lane: "batch" });
    }
  }
  rows.sort((one, other) => one.t - other.t);
  const lines = rows.map((row) => `${row.t.toFixed(1)},${row.serviceS.toFixed(2)},${row.lane}`);
  return ["t,service_s,lane", ...lines, ""].join("\n");
}
