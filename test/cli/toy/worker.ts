/** The smallest Worker that shows whether objects, D1 and R2 survive. Built by the tests, in a folder of its own. */
import { DurableObject } from "cloudflare:workers";
import { version } from "./version.ts";

export class EndpointObject extends DurableObject {
  count(): number {
    this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY)");
    this.ctx.storage.sql.exec("INSERT INTO calls DEFAULT VALUES");
    return Number(this.ctx.storage.sql.exec("SELECT COUNT(*) AS calls FROM calls").one().calls);
  }
}
export class PodObject extends DurableObject {}
export class WebhooksObject extends DurableObject {}
export class ModelsObject extends DurableObject {}

interface Env {
  readonly ENDPOINTS: DurableObjectNamespace<EndpointObject>;
  readonly CATALOG: D1Database;
  readonly STORE: R2Bucket;
  readonly ASSETS: Fetcher;
  readonly ALLOW_LOOPBACK_URLS: string;
  readonly SIGNING_SECRET: string;
}

/** Fetches what it is told to, without any guard: what stops it is the network. */
async function fetched(url: string): Promise<Response> {
  try {
    const answer = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(10_000) });
    return Response.json({ status: answer.status, text: await answer.text() });
  } catch (error) {
    return Response.json({ failed: error instanceof Error ? error.name : String(error) });
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/count") return Response.json(await env.ENDPOINTS.getByName("one").count());
    if (pathname === "/keys") {
      const { results } = await env.CATALOG.prepare("SELECT name, hash, hint, scopes FROM api_keys").all();
      return Response.json(results);
    }
    if (pathname === "/settings") {
      return Response.json({ loopback: env.ALLOW_LOOPBACK_URLS, secret: env.SIGNING_SECRET, version });
    }
    if (pathname === "/fetch") return await fetched(new URL(request.url).searchParams.get("url") ?? "");
    if (pathname === "/store" && request.method === "PUT") {
      await env.STORE.put("one", request.body);
      return new Response(null, { status: 201 });
    }
    if (pathname === "/store") return new Response((await env.STORE.get("one"))?.body ?? null);
    return await env.ASSETS.fetch(request);
  },
};
