/** JSON as Python's `json.dumps` writes it: a space after `,` and `:`, and everything outside ASCII escaped. */

/**
 * Writes a value. Maps come out as objects in their own order, which plain objects with numeric keys do not keep.
 * Whole numbers beyond 2^53 are exact; NaN and Infinity are bare, as Python writes them; undefined fields are left out.
 * @throws TypeError for a function or a symbol
 */
export function pythonJson(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return value.toString();
    case "number":
      return Object.is(value, -0) ? "0" : String(value);
    case "boolean":
      return String(value);
    case "string":
      return asciiString(value);
    case "undefined":
      return "null";
    case "object": {
      if (value === null) return "null";
      if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
      const fields = value instanceof Map ? [...value.entries()] : Object.entries(value);
      return `{${fields
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${asciiString(String(key))}: ${pythonJson(item)}`)
        .join(", ")}}`;
    }
    default:
      throw new TypeError(`JSON cannot hold a ${typeof value}`);
  }
}

function asciiString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
