/**
 * ComfyUI's guard against web pages that post to a server on the visitor's own machine: a request to a loopback host
 * is refused when its Origin names another host. Programs send no Origin and are not touched by it.
 */
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";

/** True when the request must be refused. */
export function isForeignOrigin(headers: IncomingHttpHeaders): boolean {
  const { host, origin } = headers;
  if (host === undefined || origin === undefined) return false;
  const target = parsed(`http://${host}`);
  const source = parsed(origin);
  if (target === undefined || source === undefined || !isLoopback(target.hostname)) return false;
  // Ports count only when both sides name one.
  if (explicitPort(origin) === "")
    return target.hostname !== (explicitPort(host) === "" ? source.hostname : netloc(origin));
  return (explicitPort(host) === "" ? source.hostname : netloc(origin)) !== host.toLowerCase();
}

function parsed(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined;
}

function netloc(origin: string): string {
  return origin
    .toLowerCase()
    .replace(/^[a-z]+:\/\//, "")
    .replace(/\/.*$/, "");
}

function explicitPort(host: string): string {
  return /:(\d+)$/.exec(netloc(host))?.[1] ?? "";
}

function isLoopback(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, "");
  if (isIP(bare) === 4) return bare.startsWith("127.");
  return bare === "::1" || bare === "localhost" || bare.endsWith(".localhost");
}
