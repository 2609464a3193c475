/**
 * Which addresses a download may connect to. The name is judged before anything is asked (contract/public-url.ts); what
 * it leads to is judged here, on the very address that is then connected to, so that no second answer of the name
 * server can change it.
 */
import { promises as dns } from "node:dns";
import { BlockList, isIP, isIPv4, type LookupFunction } from "node:net";

/** IANA's special-purpose addresses, and those that only a network's own machines can have. */
const NOT_PUBLIC_V4: readonly (readonly [network: string, bits: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  // Link-local; clouds answer questions about a machine's own credentials here.
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
];
/** What is left out of 2000::/3, the only part of IPv6 that is handed out. */
const NOT_PUBLIC_V6: readonly (readonly [network: string, bits: number])[] = [
  // Tunnels and tests; Teredo and 6to4 carry an IPv4 address that nobody has judged.
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const notPublic = new BlockList();
for (const [network, bits] of NOT_PUBLIC_V4) notPublic.addSubnet(network, bits, "ipv4");
for (const [network, bits] of NOT_PUBLIC_V6) notPublic.addSubnet(network, bits, "ipv6");
const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");
const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");

/** How far a download may reach: public addresses only, this machine's loopback as well, or any network it is on. */
export type Reach = "public" | "loopback" | "private";

/** @param address an IP address as a name server gives it; anything else is out of reach */
export function isWithinReach(address: string, reach: Reach): boolean {
  const family = isIP(address);
  if (family === 0) return false;
  if (reach === "private") return true;
  const embedded = embeddedV4(address);
  if (embedded !== null) return isWithinReach(embedded, reach);
  const kind = family === 4 ? "ipv4" : "ipv6";
  if (reach === "loopback" && loopback.check(address, kind)) return true;
  if (family === 6 && !globalUnicast.check(address, "ipv6")) return false;
  return !notPublic.check(address, kind);
}

/** The IPv4 address inside a mapped one (::ffff:a.b.c.d), or inside what a NAT64 network makes of one (64:ff9b::/96). */
function embeddedV4(address: string): string | null {
  if (isIPv4(address)) return null;
  // The URL parser writes every notation in the shortest one.
  const short = URL.parse(`http://[${address.replace(/%.*$/, "")}]/`)?.hostname ?? "";
  const found = /^\[(?:::ffff:|64:ff9b::)(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,4})\]$/.exec(short);
  if (found === null) return null;
  const high = Number.parseInt(found[1] ?? "0", 16);
  const low = Number.parseInt(found[2] ?? "0", 16);
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** Asks for all addresses of a name. @throws Error when it has none */
export type ResolveAddresses = (hostname: string) => Promise<readonly ResolvedAddress[]>;

export const systemResolver: ResolveAddresses = (hostname) => dns.lookup(hostname, { all: true, verbatim: true });

/** A name leads to addresses that are out of reach, and to no other. */
export class AddressRefused extends Error {}

/**
 * What sockets ask instead of the system: it answers with addresses within reach alone, and the socket connects to what
 * it was answered.
 */
export function guardedLookup(resolve: ResolveAddresses, reach: Reach): LookupFunction {
  return (hostname, options, callback) => {
    const family = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : (options.family ?? 0);
    resolve(hostname).then(
      (all) => {
        const wanted = all.filter((each) => family === 0 || each.family === family);
        const allowed = wanted.filter(({ address }) => isWithinReach(address, reach));
        const [first] = allowed;
        if (first === undefined) {
          const reason = wanted.length === 0 ? "has no address" : "leads to a private address";
          callback(new AddressRefused(`${hostname} ${reason}`), "", 0);
        } else if (options.all === true) {
          const list = allowed.map(({ address, family }) => ({ address, family }));
          callback(null, list);
        } else callback(null, first.address, first.family);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), "", 0),
    );
  };
}
