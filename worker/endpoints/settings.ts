import type { EndpointSettings } from "#contract/endpoint";
import { Problem } from "#contract/problems";

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
  return settings;
}
