import { CliError } from "#cli/errors";

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/**
 * A span of time as people type it: `90s`, `30m`, `2h`, `1d`, `1w`.
 * @returns ms
 * @throws CliError `usage`
 */
export function spanOf(text: string, option: string): number {
  const span = /^([0-9]{1,6})([smhdw])$/.exec(text);
  if (span === null) throw new CliError("usage", `--${option} takes a time such as 90s, 30m, 2h or 1d, not ${text}`);
  return Number(span[1]) * (UNITS_MS[span[2] ?? ""] ?? 0);
}

/**
 * A time of the command line as ISO text: `90s`, `30m`, `1h`, `2d` and `1w` are so long ago, everything else must be an
 * ISO date or time; a date alone begins at midnight UTC.
 * @param option its name, for the error
 * @throws CliError `usage`
 */
export function timeOf(text: string, option: string, nowMs: number): string {
  const ago = /^([0-9]{1,6})([smhdw])$/.exec(text);
  if (ago !== null) return new Date(nowMs - Number(ago[1]) * (UNITS_MS[ago[2] ?? ""] ?? 0)).toISOString();
  const at = isoMs(text);
  if (Number.isNaN(at)) {
    throw new CliError(
      "usage",
      `--${option} takes 30m, 1h, 2d … ago, or an ISO time such as 2026-11-21T10:00:00Z, not ${text}`,
    );
  }
  return new Date(at).toISOString();
}

/**
 * A moment of the command line as ISO text: an ISO date or time with its zone; a date alone is midnight UTC.
 * @param option its name, for the error
 * @throws CliError `usage`
 */
export function momentOf(text: string, option: string): string {
  const at = isoMs(text);
  if (Number.isNaN(at)) {
    throw new CliError("usage", `--${option} takes an ISO time such as 2026-11-21T18:00:00Z, not ${text}`);
  }
  return new Date(at).toISOString();
}

/** NaN for what is no ISO date or time with its zone. */
function isoMs(text: string): number {
  const isIso = /^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2}))?$/.test(text);
  return isIso ? Date.parse(text) : Number.NaN;
}
