/**
 * Which addresses we fetch or post to for a caller: public https hosts by name, nothing else. Names are judged here;
 * what a name resolves to is judged by the network the Worker runs in, which reaches public addresses only.
 */

declare const guarded: unique symbol;
/** A URL that `guardUrl` let pass. Whoever fetches takes this type, so that no other URL can be fetched. */
export type PublicUrl = URL & { readonly [guarded]: true };

export type UrlVerdict =
  | { readonly ok: true; readonly url: PublicUrl }
  /** `reason` is a sentence for the caller, without a subject: it says what the URL must be. */
  | { readonly ok: false; readonly reason: string };

export interface UrlRules {
  /** A developer's machine: http and https to loopback addresses, at any port, are taken as well. */
  readonly allowLoopback: boolean;
  /** Hosts of this service, with or without a port; none of them is ever fetched. */
  readonly ownHosts: readonly string[];
}

export const URL_LENGTH_MAX = 4_096;
/** RFC 1035, section 2.3.4: what every resolver takes. */
const HOST_LENGTH_MAX = 253;

/** Names that lead into private networks or nowhere, by RFC 2606, 6761, 6762, 7686, 8375, 9476, ICANN and habit. */
const PRIVATE_SUFFIXES: readonly string[] = [
  "localhost",
  "localdomain",
  "local",
  "internal",
  "intranet",
  "lan",
  "home",
  "corp",
  "mail",
  "private",
  "arpa",
  "test",
  "invalid",
  "example",
  "onion",
  "alt",
  "consul",
  "svc",
  // Google's second name for its metadata server.
  "metadata.goog",
];

const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const TOP_LABEL = /^(?:[a-z]{2,63}|xn--[a-z0-9-]{1,58}[a-z0-9])$/;
const LOOPBACK = /^(?:localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\])$/;
/** What IDNA drops or turns into a full stop: two readers of such a host see two hosts. */
const INVISIBLE = /[\u3002\p{Default_Ignorable_Code_Point}]/u;

const PUBLIC_NAME = "Must name a public host, such as files.example.org";

/**
 * Reads a caller's URL once; whoever uses it parses nothing again.
 * @returns the parsed URL, or the reason that says how to mend it
 */
export function guardUrl(text: string, { allowLoopback, ownHosts }: UrlRules): UrlVerdict {
  if (text.length > URL_LENGTH_MAX) return no(`Must have at most ${URL_LENGTH_MAX} characters.`);
  // Parsers disagree about these; what they disagree about is refused.
  if (/[\u0000-\u0020\u007f-\u00a0\\]/.test(text) || !text.isWellFormed()) {
    return no("Must hold no spaces, control characters or backslashes; write them percent-encoded.");
  }
  const authority = /^https?:\/\/([^/?#]+)/i.exec(text)?.[1];
  if (authority === undefined) return no("Must start with https:// and a host.");
  if (authority.includes("@")) return no("Must hold no user name and no password; put a token into the query.");
  if (text.includes("#")) return no("Must hold no #fragment, which is never sent; write a # of the path as %23.");
  if (authority.includes("%") || INVISIBLE.test(authority) || authority.normalize("NFKC") !== authority) {
    return no("Must write its host in plain letters or in punycode.");
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return no("Is not a URL: its host or port cannot be read.");
  }
  const host = url.hostname.toLowerCase();
  if (isOwn(url, ownHosts)) return no("Must not point at this service; give a file of its own by its id.");
  if (allowLoopback && LOOPBACK.test(host)) return yes(url);
  if (url.protocol !== "https:") return no("Must be an https:// URL.");
  if (url.port !== "") return no("Must use port 443, the default; leave the port out.");
  if (host.startsWith("[") || /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/.test(host)) {
    return no(`${PUBLIC_NAME}; an IP address is not taken.`);
  }
  if (host.endsWith(".")) return no("Must end its host name without a full stop.");
  if (host.length > HOST_LENGTH_MAX) return no(`Must have at most ${HOST_LENGTH_MAX} characters in its host name.`);
  const labels = host.split(".");
  if (!labels.every((label) => LABEL.test(label)) || !TOP_LABEL.test(labels.at(-1) ?? "")) {
    return no(`${PUBLIC_NAME}: letters, digits and hyphens between single full stops.`);
  }
  if (labels.length < 2) return no(`${PUBLIC_NAME}; a name of one part is private.`);
  if (PRIVATE_SUFFIXES.some((suffix) => host === suffix || host.endsWith(`.${suffix}`))) {
    return no(`${PUBLIC_NAME}; names that end like this one are private.`);
  }
  return yes(url);
}

/**
 * Another port of our public name is another door to us; on loopback, each port is another program and the machine has
 * many names.
 */
function isOwn(url: URL, ownHosts: readonly string[]): boolean {
  const host = url.hostname.replace(/\.$/, "").toLowerCase();
  return ownHosts.some((text) => {
    const own = URL.parse(`${url.protocol}//${text}`);
    if (own === null) return false;
    if (LOOPBACK.test(own.hostname)) return LOOPBACK.test(host) && own.port === url.port;
    return own.hostname.replace(/\.$/, "").toLowerCase() === host;
  });
}

function yes(url: URL): UrlVerdict {
  return { ok: true, url: url as PublicUrl };
}

function no(reason: string): UrlVerdict {
  return { ok: false, reason };
}
