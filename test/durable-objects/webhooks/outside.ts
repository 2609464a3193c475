import { vi } from "vitest";
import type { JsonObject } from "#contract/exact-json";

/** One request that left for the outside. */
export interface Posted {
  readonly url: string;
  readonly headers: Headers;
  readonly body: string;
  readonly redirect: string | undefined;
}

/** The outside world: keeps every request, and answers as the test says. */
export function outside(answer: (posted: Posted) => Response | Promise<Response>): Posted[] {
  const posts: Posted[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const posted: Posted = {
      url: String(input),
      headers: new Headers(init?.headers),
      body: String(init?.body),
      redirect: init?.redirect,
    };
    posts.push(posted);
    // A fetch that is given up rejects, however long its answer takes.
    const { signal } = init ?? {};
    return Promise.race([
      answer(posted),
      new Promise<never>((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason))),
    ]);
  });
  return posts;
}

export const noContent = (): Response => new Response(null, { status: 204 });

/** Verifies a `v1` signature from the specification alone. */
export async function isSigned(posted: Posted, secret: string): Promise<boolean> {
  const id = posted.headers.get("webhook-id");
  const timestamp = posted.headers.get("webhook-timestamp");
  const bytes = Uint8Array.from(atob(secret.slice("whsec_".length)), (char) => char.charCodeAt(0));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const content = new TextEncoder().encode(`${id}.${timestamp}.${posted.body}`);
  const signatures = (posted.headers.get("webhook-signature") ?? "").split(" ");
  for (const signature of signatures) {
    if (!signature.startsWith("v1,")) continue;
    const mac = Uint8Array.from(atob(signature.slice(3)), (char) => char.charCodeAt(0));
    if (await crypto.subtle.verify("HMAC", key, mac, content)) return true;
  }
  return false;
}

/** Verifies the `v1a` signature with a key of the published set. */
export async function isSignedBy(posted: Posted, jwk: JsonObject): Promise<boolean> {
  const { kty, crv, x } = jwk;
  const key = await crypto.subtle.importKey(
    "jwk",
    { kty: String(kty), crv: String(crv), x: String(x) },
    { name: "Ed25519" },
    false,
    ["verify"],
  );
  const signature = (posted.headers.get("webhook-signature") ?? "").split(" ").find((one) => one.startsWith("v1a,"));
  const bytes = Uint8Array.from(atob(signature?.slice(4) ?? ""), (char) => char.charCodeAt(0));
  const content = `${posted.headers.get("webhook-id")}.${posted.headers.get("webhook-timestamp")}.${posted.body}`;
  return crypto.subtle.verify({ name: "Ed25519" }, key, bytes, new TextEncoder().encode(content));
}
