import { describe, expect, it } from "vitest";
import { routes } from "#contract/api/all";
import { problems } from "#contract/problems";
import { jsonOf, ORIGIN, send } from "#test/worker/workspace";
import { unansweredRoutes } from "#worker/app";

describe("the routes", () => {
  it("of the contract are all answered", () => {
    expect(unansweredRoutes()).toEqual([]);
  });
});

describe("the pages", () => {
  it.each(["/", "/docs", "/docs/problems"])(
    "%s is HTML that loads nothing from elsewhere and runs nothing",
    async (path) => {
      const answer = await send("GET", path);
      expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
      const policy = answer.headers.get("content-security-policy") ?? "";
      expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; img-src 'self';/);
      const text = await answer.text();
      expect(text).not.toMatch(/<script|javascript:|\son[a-z]+=|src="http|href="http/i);
      const style = /<style>([\s\S]*)<\/style>/.exec(text)?.[1] ?? "";
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(style));
      expect(policy).toContain(btoa(String.fromCharCode(...new Uint8Array(digest))));
    },
  );

  it("/docs shows every route, with an example", async () => {
    const text = await (await send("GET", "/docs")).text();
    for (const route of routes) {
      expect(text).toContain(`id="${route.id}"`);
      expect(text).toContain(route.path);
    }
    expect(text).toContain(`curl -X POST ${ORIGIN}/v1/endpoints/text-to-image/jobs`);
  });

  it("/docs links only to places that exist", async () => {
    const text = await (await send("GET", "/docs")).text();
    const ids = new Set([...text.matchAll(/id="([^"]+)"/g)].map((match) => match[1]));
    const inside = [...text.matchAll(/href="#([^"]+)"/g)].map((match) => match[1]);
    expect(inside.filter((id) => !ids.has(id))).toEqual([]);
  });

  it("/docs/problems has an anchor for every code", async () => {
    const text = await (await send("GET", "/docs/problems")).text();
    for (const code of Object.keys(problems)) expect(text).toContain(`id="${code}"`);
  });

  it("answer HEAD without a body", async () => {
    const answer = await send("HEAD", "/docs");
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
  });
});

describe("/openapi.json", () => {
  it("describes this server", async () => {
    const answer = await send("GET", "/openapi.json");
    expect(await jsonOf(answer)).toMatchObject({ openapi: "3.1.1", servers: [{ url: ORIGIN }] });
  });
});
