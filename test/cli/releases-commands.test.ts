import { expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { json, problem, scriptedServer } from "#test/client/scripted-server";

const keyed = (url: string) => ["--url", url, "--token", "pl_key"];

it("rolls back from the release that was seen as active", async () => {
  const server = await scriptedServer(json(200, exampleEndpoint()), problem(409, "no_previous_release", false));
  const { code, stdout } = await runHere(["releases", "rollback", "text-to-image", ...keyed(server.url), "--json"]);
  expect(code).not.toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: "no_previous_release" } });
  expect(server.seen.map(({ method, url, body }) => [method, url, body])).toEqual([
    ["GET", "/v1/endpoints/text-to-image", ""],
    ["POST", "/v1/endpoints/text-to-image/rollback", '{"from":1}'],
  ]);
});

it("activates the release of that number, and refuses what is none before it asks anybody", async () => {
  const server = await scriptedServer(json(200, exampleEndpoint()));
  const wrong = await runHere(["releases", "activate", "text-to-image", "v2", ...keyed(server.url)]);
  expect(wrong.code).not.toBe(0);
  expect(server.seen).toEqual([]);
  const right = await runHere(["releases", "activate", "text-to-image", "1", ...keyed(server.url), "--json"]);
  expect(right.code).toBe(0);
  expect(server.seen.map(({ url }) => url)).toEqual(["/v1/endpoints/text-to-image/releases/1/activate"]);
});
