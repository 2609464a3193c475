import { beforeAll, describe, expect, it } from "vitest";
import { Scope } from "#contract/access";
import { routes } from "#contract/api/all";
import type { Route } from "#contract/api/route";
import { makeWorkspace, refusalOf, send } from "#test/worker/workspace";

/** Keys that hold every scope but one. */
const keysWithout = new Map<Scope, string>();
beforeAll(async () => {
  for (const scope of Scope.options) {
    const others = Scope.options.filter((each) => each !== scope && each !== "admin");
    keysWithout.set(scope, (await makeWorkspace(others)).key);
  }
});

const guarded = routes.filter(({ scope }) => scope !== null);
const pathOf = (route: Route) => route.path.replaceAll(/\{([a-z_]+)\}/g, "some-$1");
const call = (route: Route, key: string | undefined) =>
  send(route.method.toUpperCase(), pathOf(route), {
    key,
    // Nobody reads the body of a caller who may not call.
    ...(route.body === undefined ? {} : { body: "not json", headers: { "content-type": "text/plain" } }),
  });

describe.each(guarded.map((route) => [route.id, route] as const))("%s", (_, route) => {
  it("refuses a caller without a key, before it looks at anything", async () => {
    const refused = { status: 401, code: "unauthenticated" };
    expect(await refusalOf(await call(route, undefined))).toEqual(refused);
    expect(await refusalOf(await call(route, "pl_0000000000000000000000000000000000000000"))).toEqual(refused);
  });

  it("refuses a key without its scope", async () => {
    if (route.scope === null) throw new Error("a guarded route has a scope");
    const answer = await call(route, keysWithout.get(route.scope));
    expect(await refusalOf(answer)).toEqual({ status: 403, code: "missing_scope" });
  });
});
