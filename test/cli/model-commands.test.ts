import { describe, expect, it } from "vitest";
import type { Model } from "#contract/model";
import { runHere } from "#test/cli/command-line";
import { EXAMPLE_JOB_ID } from "#test/client/example-job";
import { json, scriptedServer } from "#test/client/scripted-server";

const ID = `mdl_${EXAMPLE_JOB_ID.slice("job_".length)}` as Model["id"];
const importing: Model = {
  id: ID,
  sha256: null,
  type: "loras",
  filename: "style.safetensors",
  places: [{ type: "loras", filename: "style.safetensors" }],
  size: 2_000_000,
  format: null,
  status: "importing",
  reason: null,
  notice: "Its source answered 503.",
  bytes_done: 1_000_000,
  sources: ["hf:owner/name@main/dir/style.safetensors"],
  upload: null,
  created_at: "2026-11-21T10:00:00.000Z",
  updated_at: "2026-11-21T10:00:00.000Z",
};

const against = (url: string) => ({ PILOTLIGHT_TOKEN: "pl_x", PILOTLIGHT_API_URL: url, PILOTLIGHT_RETRY_S: "0" });

describe("models import", () => {
  it("takes the name of the source's file, and says how far it is without waiting", async () => {
    const server = await scriptedServer(json(202, importing));
    const argv = ["models", "import", String(importing.sources[0]), "--type", "loras", "--no-wait"];
    const result = await runHere(argv, { env: against(server.url), isTerminal: true });
    expect(result.code).toBe(0);
    expect(JSON.parse(server.seen[0]?.body ?? "")).toEqual({
      source: "hf:owner/name@main/dir/style.safetensors",
      type: "loras",
      filename: "style.safetensors",
      allow_unsafe: false,
    });
    expect(result.stdout).toContain(`${ID} is importing`);
    expect(result.stdout).toContain("2.00 MB, 1.00 MB done");
    expect(result.stdout).toContain("waits: Its source answered 503.");
  });

  it("goes on by itself after a Ctrl-C, and says how to look", async () => {
    const interrupt = new AbortController();
    const server = await scriptedServer(json(202, importing), (request, response) => {
      interrupt.abort();
      return json(200, importing)(request, response);
    });
    const argv = ["models", "import", "civitai:5", "--type", "loras", "--filename", "style.safetensors", "--json"];
    const result = await runHere(argv, { env: against(server.url), signal: interrupt.signal });
    expect(result.code).toBe(130);
    expect(JSON.parse(result.stdout).error).toMatchObject({
      code: "interrupted",
      message: expect.stringContaining(`models show ${ID}`),
    });
  });
});

describe("models push", () => {
  it.each([
    ["a file that is not there", "none.safetensors", "there is no such file"],
    ["a folder", ".", "is no file"],
  ])("refuses %s before it asks anybody", async (_, path, message) => {
    const result = await runHere(["models", "push", path, "--type", "vae", "--json"]);
    expect(result.code).toBe(2);
    expect(JSON.parse(result.stdout).error.message).toContain(message);
  });

  it("needs to know the folder", async () => {
    const result = await runHere(["models", "push", "a.safetensors", "--json"]);
    expect(JSON.parse(result.stdout).error).toMatchObject({
      code: "usage",
      message: expect.stringContaining("--type"),
    });
  });
});

describe("models ls", () => {
  it("shows one line for each, and where the list goes on", async () => {
    const server = await scriptedServer(json(200, { data: [importing], next_cursor: "c1" }));
    const argv = ["models", "ls", "--type", "loras", "--status", "importing"];
    const result = await runHere(argv, { env: against(server.url), isTerminal: true });
    expect(server.seen[0]?.url).toBe("/v1/models?type=loras&status=importing&limit=20");
    expect(result.stdout).toMatch(new RegExp(`${ID} +importing +loras +style.safetensors +2.00 MB`));
    expect(result.stdout).toContain("More: --cursor c1");
  });

  it("refuses a status that there is not", async () => {
    const result = await runHere(["models", "ls", "--status", "lost", "--json"]);
    expect(result.code).toBe(2);
  });
});
