/**
 * Which addresses we fetch for a caller: public https hosts by name, nothing else. Names are judged here; what a name
 * resolves to is judged by the network the Worker runs in, which reaches public addresses only.
 */

export type GuardedUrl = { readonly ok: true; readonly url: URL } | { readonly ok: false; readonly reason: string };

/** Names that lead into private networks, by RFC 6761, RFC 8375 and habit. */
const PRIVATE_SUFFIXES = [
  "localhost",
  "local",
  "internal",
  "intranet",
  "lan",
  "home",
  "corp",
  "private",
  "home.arpa",
  "in-addr.arpa",
  "ip6.arpa",
  "test",
  "invalid",
  "example",
  "onion",
  "alt",
];
const LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"];
export const URL_LENGTH_MAX = 4_096;

/**
 * Reads a caller's URL once; whoever fetches uses the result and parses nothing again.
 * @param allowLoopback a developer's machine: http and https to loopback are taken as well
 * @param ownHost our own host, which is never fetched
 */
export function guardUrl(text: string, options: { allowLoopback: boolean; ownHost: string }): GuardedUrl {
  if (text.length > URL_LENGTH_MAX) return no(`Must have at most ${URL_LENGTH_MAX} characters.`);
  // Parsers disagree about these; what they disagree about is refused.
  if (/[\u0000-\u0020\u007f\\]/.test(text)) return no("Must hold no spaces, control characters or backslashes.");
  if (!/^https?:\/\/[^/?#]/i.test(text)) return no("Must start with https:// and a host.");
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return no("Is not a URL.");
  }
  if (url.username !== "" || url.password !== "" || /^https?:\/\/[^/?#]*@/i.test(text)) {
    return no("Must hold no user name and no password.");
  }
  const host = url.hostname.toLowerCase();
  if (options.allowLoopback && LOOPBACK_HOSTS.includes(host)) return { ok: true, url };
  if (url.protocol !== "https:") return no("Must be an https:// URL.");
  if (url.port !== "") return no("Must use the default port.");
  if (host.startsWith("[") || /^[0-9.]+$/.test(host)) return no("Must name a host, not an IP address.");
  const labels = host.replace(/\.$/, "").split(".");
  if (labels.length < 2 || labels.some((label) => label === "")) return no("Must name a public host.");
  if (!/[a-z]/.test(labels.at(-1) ?? "")) return no("Must name a public host.");
  const name = labels.join(".");
  if (PRIVATE_SUFFIXES.some((suffix) => name === suffix || name.endsWith(`.${suffix}`))) {
    return no("Must name a public host.");
  }
  // The name without its root dot, which leads to the same host.
  if (name === options.ownHost.toLowerCase().replace(/\.?(?::[0-9]+)?$/, "")) {
    return no("Must not point at this service; use the id of the file instead.");
  }
  return { ok: true, url };
}

function no(reason: string): GuardedUrl {
  return { ok: false, reason };
}
