import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ComfyClient } from "../comfy-contract/comfy-client.ts";
import { picture, spawnStandIn } from "../comfy-contract/servers.ts";

const MAIN = fileURLToPath(new URL("../../../gpu-agent/stand-in/main.ts", import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "stand-in-program-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function run(...flags: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (text: Buffer) => {
    stdout += text.toString();
  });
  child.stderr.on("data", (text: Buffer) => {
    stderr += text.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

describe("the program", () => {
  it("says where it listens, what it is, and ends cleanly on SIGTERM", async () => {
    const server = await spawnStandIn(["--base-directory", folder, "--disable-auto-launch"]);
    const client = new ComfyClient(server.url);
    const socket = await client.connect("me");
    expect(server.stderr()).toContain("This is the Pilotlight stand-in for ComfyUI");
    expect(server.stderr()).toContain(`To see the GUI go to: ${server.url}`);
    expect(existsSync(path.join(folder, "temp"))).toBe(true);
    server.process.kill("SIGTERM");
    expect(await server.exited).toBe(0);
    await socket.untilClosed();
    expect(existsSync(path.join(folder, "temp"))).toBe(false);
  });

  it("refuses a flag it does not know with exit code 2", async () => {
    const { code, stderr } = await run("--no-such-flag");
    expect([code, stderr]).toEqual([2, expect.stringContaining("error: unrecognized arguments: --no-such-flag")]);
  });

  it("lists its flags for --help", async () => {
    const { code, stdout } = await run("--help");
    expect(code).toBe(0);
    expect(stdout).toMatch(/--cache-lru VALUE/);
  });

  it("ends with exit code 1 when its port is taken", async () => {
    const server = await spawnStandIn(["--base-directory", folder]);
    const { code, stderr } = await run("--port", new URL(server.url).port, "--quick-test-for-ci");
    expect([code, stderr.includes("OSError")]).toEqual([0, false]);
    const second = await run("--port", new URL(server.url).port, "--base-directory", path.join(folder, "second"));
    expect([second.code, second.stderr.includes("EADDRINUSE")]).toEqual([1, true]);
    server.process.kill();
    await server.exited;
  });

  it("crashes with exit code 137 when asked to", async () => {
    const server = await spawnStandIn(["--base-directory", folder, "--fault-crash", "after_save"]);
    const client = new ComfyClient(server.url);
    await client.submit(picture("crash"));
    expect(await server.exited).toBe(137);
    expect(existsSync(path.join(folder, "output", "crash_00001_.png"))).toBe(true);
  });

  it("does not listen before its simulated start is over", async () => {
    const flags = ["--port", "0", "--base-directory", folder, "--fault-slow-boot-ms", "3600000"];
    const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    child.stdout.on("data", (text: Buffer) => {
      stdout += text.toString();
    });
    const exited = new Promise((resolve) => child.once("close", resolve));
    for await (const text of child.stderr as AsyncIterable<Buffer>) {
      if (text.toString().includes("Loading for 3600000 ms")) child.kill("SIGTERM");
    }
    expect([await exited, stdout]).toEqual([0, ""]);
  });

  it("puts files where the directory flags say", async () => {
    const [output, temp] = [path.join(folder, "out"), path.join(folder, "tmp")];
    const flags = ["--output-directory", output, "--temp-directory", temp, "--base-directory", folder];
    const server = await spawnStandIn(flags);
    const client = new ComfyClient(server.url);
    await client.finished(await client.submit(picture("placed")));
    expect(existsSync(path.join(output, "placed_00001_.png"))).toBe(true);
    expect(existsSync(path.join(temp, "temp"))).toBe(true);
    server.process.kill();
    await server.exited;
  });

  it("does not answer anyone while its event loop hangs", async () => {
    const server = await spawnStandIn(["--base-directory", folder]);
    const client = new ComfyClient(server.url);
    await client.post("/stand-in/faults", { hang_ms: 600_000 });
    const hanging = await client.poll(async () => {
      const answer = await fetch(`${server.url}/prompt`, { signal: AbortSignal.timeout(1_000) }).catch(
        (error: Error) => error.name,
      );
      return typeof answer === "string" ? answer : undefined;
    });
    expect(hanging).toBe("TimeoutError");
    server.process.kill("SIGKILL");
    await server.exited;
  });
});
