/** A media type that may stand in a header; what is none becomes bytes without a name. Parameters are dropped. */
export function servedType(contentType: string): string {
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (!/^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}$/.test(type))
    return "application/octet-stream";
  return type === "text/plain" ? "text/plain; charset=utf-8" : type;
}
