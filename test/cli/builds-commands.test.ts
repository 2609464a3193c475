import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { buildDigest } from "#contract/build";
import { runHere } from "#test/cli/command-line";
import { exampleEndpoint } from "#test/client/example-queue";
import { json, problem, scriptedServer } from "#test/client/scripted-server";
import { exampleBuild } from "#test/contract/example-build";

const keyed = (url: string) => ["--url", url, "--token", "pl_key"];
const summary = {
  digest: "a".repeat(64),
  comfyui: "0.33.0",
  python: "3.11",
  custom_nodes: 1,
  models: 2,
  model_bytes: 6_500_000_000,
  created_at: "2026-01-01T00:00:00.000Z",
};
const build = { ...summary, manifest: exampleBuild };
const graph = {
  "1": { class_type: "EmptyImage", inputs: {} },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0] } },
};

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pilotlight-builds-"));
  file = join(folder, "build.json");
  writeFileSync(file, JSON.stringify(exampleBuild));
  writeFileSync(join(folder, "workflow.json"), JSON.stringify(graph));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("registers a whole build, and sends nothing of one that is not", async () => {
  const server = await scriptedServer(json(201, build));
  const draft = join(folder, "draft.json");
  writeFileSync(draft, JSON.stringify({ ...exampleBuild, comfyCommit: null }));
  const refused = await runHere(["builds", "push", draft, ...keyed(server.url), "--json"]);
  expect(JSON.parse(refused.stdout)).toMatchObject({ ok: false, error: { code: "build_incomplete" } });
  expect(server.seen).toEqual([]);
  const { code, stdout } = await runHere(["builds", "push", file, ...keyed(server.url), "--json"]);
  expect([code, JSON.parse(stdout).data.build.digest]).toEqual([0, summary.digest]);
  expect(JSON.parse(server.seen[0]?.body ?? "")).toEqual(exampleBuild);
});

it("lists builds, and writes a manifest or a release with its build to a file", async () => {
  const standalone = {
    build: exampleBuild,
    workflow: "{}",
    schema: {},
    objectInfo: null,
    smokeTest: { inputs: {}, outputs: [] },
  };
  const server = await scriptedServer(
    json(200, { data: [summary], next_cursor: null }),
    json(200, build),
    json(200, standalone),
  );
  const listed = await runHere(["builds", "ls", ...keyed(server.url)], { isTerminal: true });
  expect(listed.stdout).toContain("2 (6.50 GB)");
  const out = join(folder, "out.json");
  expect((await runHere(["builds", "get", summary.digest, "--out", out, ...keyed(server.url)])).code).toBe(0);
  expect(JSON.parse(readFileSync(out, "utf8"))).toEqual(exampleBuild);
  expect((await runHere(["releases", "package", "fox", "2", "--out", out, ...keyed(server.url)])).code).toBe(0);
  expect(JSON.parse(readFileSync(out, "utf8"))).toEqual(standalone);
  expect(server.seen.map(({ url }) => url)).toEqual([
    "/v1/builds",
    `/v1/builds/${summary.digest}`,
    "/v1/endpoints/fox/releases/2/standalone",
  ]);
});

it("deletes a build", async () => {
  const server = await scriptedServer((_, response) => void response.writeHead(204).end());
  const { code, stdout } = await runHere(["builds", "rm", summary.digest, ...keyed(server.url), "--json"]);
  expect([code, JSON.parse(stdout).data.deleted]).toEqual([0, summary.digest]);
  expect(server.seen.map(({ method, url }) => `${method} ${url}`)).toEqual([`DELETE /v1/builds/${summary.digest}`]);
});

it("refuses what is no digest and no number before it asks anybody", async () => {
  const server = await scriptedServer();
  for (const words of [
    ["builds", "get", "latest"],
    ["releases", "package", "fox", "newest"],
  ]) {
    expect((await runHere([...words, ...keyed(server.url)])).code).toBe(2);
  }
  expect(server.seen).toEqual([]);
});

it("deploys with a file of a build, with a digest, and with none", async () => {
  const endpoint = json(201, exampleEndpoint());
  const server = await scriptedServer(json(201, build), endpoint, endpoint, endpoint);
  const deploy = (named: string) =>
    runHere(["deploy", join(folder, "workflow.json"), "--slug", "fox", "--build", named, ...keyed(server.url)]);
  for (const named of [file, "b".repeat(64), "none"]) expect((await deploy(named)).code).toBe(0);
  const bodies = server.seen.map(({ url, body }) => [url, JSON.parse(body)]);
  expect(bodies.map(([url, body]) => [url, body.build])).toEqual([
    ["/v1/builds", undefined],
    ["/v1/endpoints", summary.digest],
    ["/v1/endpoints", "b".repeat(64)],
    ["/v1/endpoints", null],
  ]);
  expect(summary.digest).not.toBe(await buildDigest(exampleBuild));
});

it("deploys with a smoke test, with none, and not with what is none", async () => {
  const server = await scriptedServer(json(201, exampleEndpoint()), json(201, exampleEndpoint()));
  const test = { inputs: { seed: 1 }, outputs: ["image"] };
  writeFileSync(join(folder, "smoke.json"), JSON.stringify(test));
  writeFileSync(join(folder, "wrong.json"), JSON.stringify({ inputs: [] }));
  const deploy = (named: string) =>
    runHere(["deploy", join(folder, "workflow.json"), "--slug", "fox", "--smoke-test", named, ...keyed(server.url)]);
  const wrong = await deploy(join(folder, "wrong.json"));
  expect([wrong.code, server.seen.length]).toEqual([2, 0]);
  expect((await deploy(join(folder, "smoke.json"))).code).toBe(0);
  expect((await deploy("none")).code).toBe(0);
  expect(server.seen.map(({ body }) => JSON.parse(body).smoke_test)).toEqual([test, null]);
});

it("says so when the server does not know the build", async () => {
  const server = await scriptedServer(problem(404, "build_not_found", false));
  const { code, stdout } = await runHere([
    ...["deploy", join(folder, "workflow.json"), "--slug", "fox", "--build", "c".repeat(64)],
    ...[...keyed(server.url), "--json"],
  ]);
  expect(code).not.toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: "build_not_found" } });
});
