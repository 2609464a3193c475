/** A small installation of ComfyUI as people have it: real git repositories, an interpreter, packs and models. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

export const FREEZE = "numpy==2.0.0\ntorch==2.7.0\n";

/** Whether this machine has that program. */
export function programRuns(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export class ComfyInstallation {
  readonly root = mkdtempSync(join(tmpdir(), "pilotlight-install-"));
  readonly folder = join(this.root, "ComfyUI");
  readonly state = join(this.root, "state");

  constructor() {
    const upstream = this.repository("comfy", {
      "main.py": "",
      "nodes.py": "",
      "comfyui_version.py": '# made by a script\n__version__ = "0.3.64"\n',
      "custom_nodes/websocket_image_save.py": "",
      ".gitignore":
        "/models/\n/custom_nodes/*\n!/custom_nodes/websocket_image_save.py\n/venv/\n/extra_model_paths.yaml\n",
    });
    this.git(this.root, "clone", "-q", upstream, this.folder);
    this.interpreter(FREEZE);
  }

  /** A repository with one commit. @returns its file:// address */
  repository(name: string, files: Readonly<Record<string, string>>): string {
    const folder = join(this.root, "remotes", name);
    for (const [path, content] of Object.entries(files)) this.write(join(folder, path), content);
    this.git(folder, "init", "-q", "-b", "main");
    this.commit(folder);
    return pathToFileURL(folder).href;
  }

  commit(folder: string): void {
    this.git(folder, "add", "-A");
    this.git(folder, "commit", "-q", "-m", "one");
  }

  clonePack(name: string, files: Readonly<Record<string, string>> = { "__init__.py": "" }): string {
    const folder = join(this.folder, "custom_nodes", name);
    this.git(this.root, "clone", "-q", this.repository(name, files), folder);
    return folder;
  }

  head(folder: string): string {
    return this.git(folder, "rev-parse", "HEAD").trim();
  }

  /** A program that answers as an interpreter with those packages does. */
  interpreter(freeze: string): string {
    const path = join(this.folder, "venv", "bin", "python");
    const probe = '{"os": "Linux", "arch": "x86_64", "version": "3.11.7"}';
    this.write(join(this.root, "freeze.txt"), freeze);
    this.write(
      path,
      `#!/bin/sh\nif [ "$1" = -c ]; then echo '${probe}'; else cat '${join(this.root, "freeze.txt")}'; fi\n`,
    );
    chmodSync(path, 0o755);
    return path;
  }

  /** @returns the sha256 of the file */
  model(path: string, content: string): string {
    this.write(join(this.folder, "models", path), content);
    return createHash("sha256").update(content).digest("hex");
  }

  write(path: string, content: string): string {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  git(folder: string, ...args: string[]): string {
    const identity = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"];
    return execFileSync("git", [...identity, "-C", folder, ...args], { encoding: "utf8" });
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** A server that says of itself what ComfyUI would. */
export async function runningComfy(system: unknown, objectInfo: unknown): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const answer =
      request.url === "/system_stats" ? { system } : request.url === "/object_info" ? objectInfo : undefined;
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => void server.close() };
}
