/**
 * Columns, left-aligned, two spaces apart. A line break within a cell is a space: no text may look like a row of its own.
 * @param header names of the columns
 * @param rows one text per column; missing ones are empty
 */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [
    header.map((name) => name.toUpperCase()),
    ...rows.map((row) => header.map((_, column) => (row[column] ?? "").replaceAll(/[\t\n]/g, " "))),
  ];
  const widths = header.map((_, column) => Math.max(...all.map((row) => [...(row[column] ?? "")].length)));
  return all.map((row) =>
    row
      .map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - [...cell].length)))
      .join("  ")
      .trimEnd(),
  );
}

/** Milliseconds as people read them: 850 ms, 12.3 s, 4 min 5 s. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes} min ${Math.round((ms - minutes * 60_000) / 1_000)} s`;
}

/** Bytes as people read them: 512 B, 3.1 MB. */
export function byteSize(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
}
