/** The policies that a simulation lets run side by side. */
import { CliError } from "#cli/errors";
import { nearestWord } from "#cli/nearest-word";
import { floorAtStart, scheduledPolicy, type WarmSchedule } from "#cli/simulate/scheduled-floor";
import { ScalingPolicy } from "#contract/endpoint";
import { makeScaler } from "#durable-objects/autoscaler/make-scaler";
import type { FleetPolicy } from "#durable-objects/autoscaler/replay/engine";
import { knownRivals, rivalNamed } from "#durable-objects/autoscaler/replay/rivals/known";
import { scalerPolicy } from "#durable-objects/autoscaler/replay/scaler-policy";
import type { ScalerSettings } from "#durable-objects/autoscaler/scaler";

/** One policy with its settings. */
export interface Contender {
  readonly name: string;
  readonly title: string;
  /** Whether it is one an endpoint can be given, or another system's, which knows neither lanes nor schedules. */
  readonly isOurs: boolean;
  /** Replicas of each endpoint that something before the trace has made warm, and that stay. */
  readonly warm: number;
  /** A new one that has learned nothing, for one endpoint. */
  make(): FleetPolicy;
}

/** What the policies of an endpoint are told, but for the policy, the worth of waiting and the floor. */
export type SharedSettings = Omit<ScalerSettings, "policy" | "waitValue" | "targetP95WaitS" | "floor">;

export interface ContenderOptions {
  readonly names: readonly string[];
  readonly settings: SharedSettings;
  /** Replicas kept warm: all are tried with each. */
  readonly floors: readonly number[];
  /** `predictive` is tried with each. */
  readonly waitValues: readonly number[];
  /** null: by the wait values. */
  readonly targetP95S: number | null;
  /** When replicas are warm by the week; null: never, or nobody knows when the trace was. */
  readonly schedule: WarmSchedule | null;
}

export const POLICIES_DEFAULT: readonly string[] = [...ScalingPolicy.options, "knative", "modal"];

/** @throws CliError `usage` for a name that is none, and for more replicas than there may be */
export function contendersOf(options: ContenderOptions): Contender[] {
  return options.floors.flatMap((floor) => {
    const contenders = contendersAbove(floor, options);
    if (options.floors.length === 1) return contenders;
    return contenders.map((each) => ({
      ...each,
      name: `${each.name}-min-${floor}`,
      title: `${each.title}, floor ${floor}`,
    }));
  });
}

function contendersAbove(floor: number, options: ContenderOptions): Contender[] {
  const names = [...new Set(options.names)].filter((name) => name !== "");
  const { ceiling } = options.settings;
  if (names.length === 0) throw new CliError("usage", "--policy names none", "`--policy list` names them all.");
  return names.flatMap((name) => {
    const own = ScalingPolicy.safeParse(name);
    if (own.success) return ownContenders(own.data, floor, options);
    const rival = rivalNamed(name);
    if (rival !== undefined) {
      const always = Number(/^fixed-([0-9]+)$/.exec(name)?.[1] ?? 0);
      if (always > ceiling) {
        throw new CliError("usage", `--policy ${name} is above --max, which is ${ceiling}`);
      }
      // Whoever asks for a timer of a minute looks for its row, and not for one of the system that has that rule.
      const title = rival.name === name ? rival.title : `${name.replace("-", " ")} s (${rival.title})`;
      return [{ name, title, isOurs: false, warm: Math.max(floor, always), make: () => rival.make() }];
    }
    const all = [...ScalingPolicy.options, ...knownRivals.map((each) => each.name)];
    const near = nearestWord(name, all);
    throw new CliError(
      "usage",
      `--policy knows no ${name}`,
      near === undefined ? `It knows ${all.join(", ")}, timer-<seconds>, fixed-<replicas>.` : `Did you mean ${near}?`,
    );
  });
}

function ownContenders(policy: ScalingPolicy, floor: number, options: ContenderOptions): Contender[] {
  const { waitValues, targetP95S, schedule } = options;
  const settings = { ...options.settings, floor };
  const own = (name: string, title: string, waitValue: number, target: number | null): Contender => ({
    name,
    title,
    isOurs: true,
    warm: schedule === null ? floor : floorAtStart(settings, schedule),
    make: () => {
      const scaler = makeScaler(policy, null);
      const all = { ...settings, policy, waitValue, targetP95WaitS: target };
      return schedule === null ? scalerPolicy(scaler, all) : scheduledPolicy(scaler, all, schedule);
    },
  });
  const [first = 1] = waitValues;
  if (policy === "queue_delay") {
    return [own(policy, `queue_delay, ${settings.queueDelayMs / 1_000} s`, first, null)];
  }
  if (policy === "request_count") {
    return [own(policy, `request_count, ${settings.jobsPerReplica} per replica`, first, null)];
  }
  if (targetP95S !== null) return [own("predictive", `predictive, p95 ${targetP95S} s`, first, targetP95S)];
  return waitValues.map((waitValue) =>
    own(
      waitValues.length === 1 ? "predictive" : `predictive-${waitValue}`,
      `predictive, wait value ${waitValue}`,
      waitValue,
      null,
    ),
  );
}
