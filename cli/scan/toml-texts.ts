const TEXT_LENGTH_MAX = 200;

/**
 * The texts of one table of a TOML file, as far as pyproject.toml needs it: `key = "value"` on a line of its own.
 * @param table its name, such as `project` or `tool.comfy`
 */
export function tomlTexts(toml: string, table: string): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  let inside = false;
  for (const line of toml.split(/\r?\n/)) {
    const head = /^\s*\[([^\]]*)\]\s*(#.*)?$/.exec(line)?.[1];
    if (head !== undefined) inside = head.trim() === table;
    else if (inside) {
      const [, key, double, single] =
        /^\s*([A-Za-z0-9_-]+)\s*=\s*(?:"([^"\\]*)"|'([^']*)')\s*(?:#.*)?$/.exec(line) ?? [];
      const value = double ?? single;
      if (key !== undefined && value !== undefined && value.length <= TEXT_LENGTH_MAX && !texts.has(key)) {
        texts.set(key, value);
      }
    }
  }
  return texts;
}
