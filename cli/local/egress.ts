/**
 * What the local server can reach. The rule is workerd's own and holds when a connection is made, so that a name which
 * leads to a private address, whoever says so and whenever, is refused like the address itself.
 *
 * Miniflare lets Workers reach everything and takes no other network, but it takes another worker as a Worker's way out.
 */
import { readFileSync } from "node:fs";
import type { MiniflareOptions } from "miniflare";

type WorkerOptions = MiniflareOptions["workers"][number];

export const EGRESS_WORKER = "egress";

/** IPv6 forms that carry an IPv4 address, which some gateway would unpack behind workerd's back. */
const TRANSLATED = ["::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"];
/** Reserved ranges, named here so that the rule does not hang on what a release of workerd calls public. */
const RESERVED = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16"],
  ...["198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"],
];
const LOOPBACK = ["127.0.0.0/8", "::1/128"];

/** The worker that every fetch of the Worker and its objects goes through; D1, R2 and the objects are not reached by it. */
export function egressWorker(
  common: Pick<WorkerOptions["config"], "compatibilityDate" | "compatibilityFlags">,
  allowLoopback: boolean,
): WorkerOptions {
  return {
    config: {
      ...common,
      name: EGRESS_WORKER,
      env: {
        NETWORK: {
          type: "network",
          allow: ["public", ...(allowLoopback ? LOOPBACK : [])],
          deny: [...TRANSLATED, ...RESERVED],
          tlsOptions: { trustBrowserCas: true, trustedCertificates: extraCertificates() },
        },
      },
      manifest: {
        mainModule: "egress.js",
        modules: {
          "egress.js": {
            type: "esm",
            contents: "export default { fetch: (request, env) => env.NETWORK.fetch(request) };",
          },
        },
      },
    },
  };
}

/** Node trusts the certificates in the file NODE_EXTRA_CA_CERTS names; the Worker is part of the same program. */
function extraCertificates(): string[] {
  const path = process.env.NODE_EXTRA_CA_CERTS ?? "";
  if (path === "") return [];
  try {
    const certificates = readFileSync(path, "utf8");
    return certificates.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  } catch {
    return []; // Node has warned of it.
  }
}
