import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { killLeftovers } from "#cli/local/leftovers";
import { Credentials, readJsonFile, stateFolderAt } from "#cli/local/state-folder";
import { type RunningCommand, startCli } from "#test/journey/system";
import { until } from "#test/until";

/** A developer's own file server, beside the system. */
let files: Server;
let asked: string[];
let address: string;
let state: string;
let command: RunningCommand | undefined;

beforeAll(async () => {
  const picture = await sharp({ create: { width: 16, height: 16, channels: 3, background: "teal" } })
    .png()
    .toBuffer();
  files = createServer((request, response) => {
    asked.push(request.url ?? "");
    if (request.url === "/moved.png") response.writeHead(302, { location: "/a.png" }).end();
    else response.writeHead(200, { "content-type": "image/png" }).end(picture);
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
  state = await mkdtemp(join(tmpdir(), "pilotlight-journey-"));
});
beforeEach(() => {
  asked = [];
});
afterEach(async () => {
  command?.process.kill("SIGTERM");
  await command?.ended;
});
afterAll(async () => {
  files.close();
  for (const role of ["server", "runtime"] as const) await killLeftovers(state, role);
  await rm(state, { recursive: true, force: true });
});

const GRAPH = {
  "1": { class_type: "LoadImage", inputs: { image: "example.png" } },
  "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "same" } },
};

/** Starts the system as a person does, and gives a way to submit a job with that address as its picture. */
async function start(...flags: readonly string[]) {
  const started = startCli(["dev", "--port", "0", "--no-agent", ...flags], { PILOTLIGHT_STATE_DIR: state });
  command = started;
  await until("it is ready", async () => (started.stdout().includes("Ctrl-C stops") ? true : undefined), 120_000);
  const url = /API +(http:\S+)/.exec(started.stdout())?.[1] ?? "";
  const credentials = await readJsonFile(stateFolderAt(state).credentials, Credentials);
  const post = async (path: string, body: unknown): Promise<{ status: number; body: Record<string, unknown> }> => {
    const answer = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${credentials?.key}` },
      body: JSON.stringify(body),
    });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };
  await post("/v1/endpoints", { slug: "same", workflow: GRAPH });
  const submit = (image: string) => post("/v1/endpoints/same/jobs", { inputs: { image } });
  return { url, submit, said: started.stdout() };
}

describe("inputs by their address, on a developer's machine", () => {
  it("come from it, by a setting that the start names, and from nothing else that is private", async () => {
    const { url, submit, said } = await start();
    expect(said).toContain("URLs to this machine are allowed: development setting");
    expect(await submit(`${address}/a.png`)).toMatchObject({ status: 202 });
    expect(asked).toEqual(["/a.png"]);
    expect(await submit(`${address}/moved.png`)).toMatchObject({ status: 422, body: { code: "url_fetch_failed" } });
    expect(asked).toEqual(["/a.png", "/moved.png"]);
    for (const refused of [`${url}/v1/me`, "http://10.0.0.1/a.png", "https://192.168.1.1/", "https://db.internal/"]) {
      expect(await submit(refused), refused).toMatchObject({ status: 422 });
    }
  });

  it("do not when the setting is off", async () => {
    const { submit, said } = await start("--no-loopback-urls");
    expect(said).toContain("URLs to this machine are refused");
    expect(await submit(`${address.replace("http:", "https:")}/a.png`)).toMatchObject({
      status: 422,
      body: { code: "invalid_url" },
    });
    expect(await submit(`${address}/a.png`)).toMatchObject({ status: 422 });
    expect(asked).toEqual([]);
  });
});
