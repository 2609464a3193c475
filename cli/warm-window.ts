import { CliError } from "#cli/errors";
import { type WarmWindow, WarmWindow as WarmWindowSchema, Weekday } from "#contract/endpoint";

const EXAMPLE = "'mon-fri 08:00-18:00 Europe/Berlin 2'";

/**
 * A part of the week as people type it: days, times, the time zone (UTC when left out), replicas.
 * @throws CliError `usage`
 */
export function warmWindowOf(text: string): WarmWindow {
  const [days, times, ...rest] = text.trim().split(/\s+/);
  const replicas = rest.at(-1);
  const [from, to] = times?.split("-") ?? [];
  const window = WarmWindowSchema.safeParse({
    days: days === undefined ? [] : daysOf(days),
    from,
    to,
    ...(rest.length > 1 ? { time_zone: rest.slice(0, -1).join(" ") } : {}),
    replicas: replicas !== undefined && /^[0-9]+$/.test(replicas) ? Number(replicas) : undefined,
  });
  if (window.success && rest.length <= 2) return window.data;
  throw new CliError("usage", `--warm takes days, times, a time zone and replicas, such as ${EXAMPLE}, not ${text}`);
}

/** `mon-fri`, `sat,sun`, `fri-mon`, `daily`. @returns an empty list for what is none of them */
function daysOf(text: string): string[] {
  const all: readonly string[] = Weekday.options;
  if (text === "daily") return [...all];
  const found = text.split(",").flatMap((part) => {
    const [first = "", last = first] = part.split("-");
    const [from, to] = [all.indexOf(first), all.indexOf(last)];
    if (from < 0 || to < 0) return [part];
    const length = ((to - from + all.length) % all.length) + 1;
    return Array.from({ length }, (_, index) => all[(from + index) % all.length] ?? part);
  });
  return [...new Set(found)];
}
