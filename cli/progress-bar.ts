const BAR_LENGTH = 20;
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A bar of fixed width. @param fraction 0 to 1 */
export function progressBar(fraction: number): string {
  const eighths = Math.round(fraction * BAR_LENGTH * 8);
  return ("█".repeat(Math.floor(eighths / 8)) + (EIGHTHS[eighths % 8] ?? "")).padEnd(BAR_LENGTH);
}
