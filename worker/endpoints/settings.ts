import type { EndpointSettings } from "#contract/endpoint";
import { Problem } from "#contract/problems";
import { isTimeZone } from "#durable-objects/autoscaler/warm-floor";

type SettingsChange = { readonly [Field in keyof EndpointSettings]?: EndpointSettings[Field] | undefined };

/**
 * The settings with a change applied.
 * @throws Problem invalid_body when fields that are fine alone contradict each other
 */
export function changedSettings(before: EndpointSettings, change: SettingsChange | undefined): EndpointSettings {
  const given = Object.entries(change ?? {}).filter(([, value]) => value !== undefined);
  const settings: EndpointSettings = { ...before, ...Object.fromEntries(given) };
  if (settings.min_replicas > settings.max_replicas) {
    throw new Problem("invalid_body", "The warm floor is above the most replicas there may be.", {
      errors: [
        {
          path: "/settings/min_replicas",
          reason: `Must be at most max_replicas, which is ${settings.max_replicas}.`,
          allowed: { maximum: settings.max_replicas },
        },
      ],
    });
  }
  settings.warm_schedule.forEach((window, index) => {
    const path = `/settings/warm_schedule/${index}`;
    if (!isTimeZone(window.time_zone)) {
      throw invalid("A time zone is unknown.", `${path}/time_zone`, "Must be an IANA name, such as Europe/Berlin.");
    }
    // One that was taken before this was refused is in nobody's way.
    if (change?.warm_schedule !== undefined && window.from === "24:00" && window.to === "00:00") {
      const reason = "Must be 00:00, and `to` 24:00, for a whole day.";
      throw invalid("A warm window from 24:00 to 00:00 never opens.", `${path}/from`, reason);
    }
    if (window.replicas > settings.max_replicas) {
      const reason = `Must be at most max_replicas, which is ${settings.max_replicas}.`;
      throw invalid("A warm floor is above the most replicas there may be.", `${path}/replicas`, reason);
    }
  });
  return settings;
}

function invalid(detail: string, path: string, reason: string): Problem {
  return new Problem("invalid_body", detail, { errors: [{ path, reason }] });
}
