/** The word that was probably meant, or undefined when none is near. */
export function nearestWord(typed: string, words: readonly string[]): string | undefined {
  const near = words
    .map((word) => ({ word, distance: editDistance(typed, word) }))
    .filter(({ word, distance }) => distance <= Math.max(1, Math.floor(Math.min(typed.length, word.length) / 2.5)))
    .sort((one, other) => one.distance - other.distance);
  return near[0]?.word ?? words.find((word) => typed.length > 1 && word.startsWith(typed));
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const above = rows[row - 1]?.[column] ?? 0;
      const left = current[column - 1] ?? 0;
      const diagonal = rows[row - 1]?.[column - 1] ?? 0;
      let best = Math.min(above + 1, left + 1, diagonal + (same ? 0 : 1));
      if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
        best = Math.min(best, (rows[row - 2]?.[column - 2] ?? 0) + 1);
      }
      current.push(best);
    }
    rows.push(current);
  }
  return rows[from.length]?.[to.length] ?? 0;
}
