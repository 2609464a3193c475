import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { json, problem, scriptedServer } from "#test/client/scripted-server";
import { textToImage } from "../workflow/graphs.ts";
import { png, tEXt } from "../workflow/png-chunks.ts";
import { exif, webp, webpChunk } from "../workflow/webp-chunks.ts";
import { zip } from "../workflow/zip-archives.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-deploy-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// A seed that no double holds: the graph must travel as text, digit for digit.
const graph = JSON.stringify(textToImage()).replace('"seed":5', '"seed":18446744073709551615');
const form = { workflows: [{ viewComfyJSON: { inputs: [] } }] };

it.each([
  ["fox.json", new TextEncoder().encode(graph), undefined],
  // Far above what one request may hold.
  ["fox.png", png(tEXt("prompt", graph), tEXt("pixels", "x".repeat(6_000_000))), undefined],
  ["fox.webp", webp(webpChunk("EXIF", exif([[0x0110, `prompt:${graph}`]]))), undefined],
  [
    "fox.zip",
    zip([
      { name: "workflow_api.json", content: graph },
      { name: "view_comfy.json", content: JSON.stringify(form) },
    ]),
    form,
  ],
])("deploys the workflow in %s, and sends that alone", async (name, content, viewComfy) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  const server = await scriptedServer(json(201, exampleEndpoint()));
  const result = await runHere(["deploy", path, "--url", server.url, "--token", "plk_test"]);
  expect([result.code, result.stderr]).toEqual([0, ""]);
  const [request] = server.seen;
  expect([request?.method, request?.url]).toEqual(["POST", "/v1/endpoints"]);
  expect(JSON.parse(request?.body ?? "{}")).toEqual({
    slug: "fox",
    workflow: graph,
    ...(viewComfy === undefined ? {} : { view_comfy: viewComfy }),
  });
});

it("only makes a release when it is not to be activated, and says how to go on", async () => {
  const path = join(folder, "fox.json");
  writeFileSync(path, graph);
  const made = { ...exampleEndpoint(), newest_release: 2 };
  const server = await scriptedServer(problem(409, "slug_taken", false), json(200, made));
  const command = ["deploy", path, "--no-activate", "--url", server.url, "--token", "plk_test"];
  const result = await runHere(command, { isTerminal: true });
  expect([result.code, result.stderr]).toEqual([0, ""]);
  expect(server.seen.map(({ method }) => method)).toEqual(["POST", "PATCH"]);
  expect(JSON.parse(server.seen[1]?.body ?? "{}")).toEqual({ workflow: graph, activate: false });
  expect(result.stdout).toContain("still runs new jobs on release 1; its newest is release 2");
  expect(result.stdout).toContain("pilotlight releases activate text-to-image 2");
});

it("refuses a file without a workflow before anything is sent", async () => {
  const path = join(folder, "clip.mp4");
  writeFileSync(path, "\0\0\0\u0018ftypisom");
  const server = await scriptedServer(json(201, exampleEndpoint()));
  const result = await runHere(["deploy", path, "--url", server.url, "--token", "plk_test", "--json"]);
  expect(result.code).toBe(1);
  expect(JSON.parse(result.stdout).error).toMatchObject({
    code: "invalid_workflow",
    message: expect.stringContaining("Export (API)"),
  });
  expect(server.seen).toEqual([]);
});
