/** Everything a build is made of, small and on this disk: repositories, a wheel, models. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { crc32 } from "node:zlib";
import { BuildManifest, type BuildModel, buildDigest } from "#contract/build";
import { BuildStore, type BuildStoreOptions } from "#gpu-agent/builds/build-store";
import type { ModelSource } from "#gpu-agent/builds/model-source";
import { isCode } from "#gpu-agent/state-directory";
import { keptLog } from "#test/gpu-agent/quick-timings";

export const SMALL_COMFYUI = join(import.meta.dirname, "small-comfyui", "main.py");

/** What this machine lacks of what builds need, or null. */
export function missingPrograms(): string | null {
  const missing = ["git", "python3"].filter((program) => !runs(program, ["--version"]));
  if (missing.length > 0) return missing.join(" and ");
  return runs("python3", ["-c", "import venv, ensurepip"]) ? null : "Python's venv";
}

/** Such as 3.11: whatever this machine has. */
export function pythonHere(): string {
  const ask = "import sys; print('%d.%d' % sys.version_info[:2])";
  return execFileSync("python3", ["-c", ask], { encoding: "utf8" }).trim();
}

function runs(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

export interface Repository {
  readonly url: string;
  readonly folder: string;
  readonly commit: string;
}

export class BuildBench {
  readonly root: string = mkdtempSync(join(tmpdir(), "pilotlight-builds-"));
  readonly builds: string = join(this.root, "state", "builds");
  readonly log: ReturnType<typeof keptLog> = keptLog();

  close(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  /** A repository of one commit; called again for the same name, one more commit. */
  repository(name: string, files: Readonly<Record<string, string>>): Repository {
    const folder = join(this.root, "repositories", name);
    if (!existsSync(folder)) {
      mkdirSync(folder, { recursive: true });
      this.git(folder, "init", "--quiet", "--initial-branch=main");
    }
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    this.git(folder, "add", "--all");
    if (this.git(folder, "status", "--porcelain") !== "") this.git(folder, "commit", "--quiet", "--message=more");
    const commit = this.git(folder, "rev-parse", "HEAD");
    return { url: pathToFileURL(folder).href, folder, commit };
  }

  comfyui(): Repository {
    return this.repository("comfyui", { "main.py": readFileSync(SMALL_COMFYUI, "utf8"), "custom_nodes/.keep": "" });
  }

  git(folder: string, ...args: string[]): string {
    const identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"];
    return execFileSync("git", [...identity, "-C", folder, ...args], { encoding: "utf8" }).trim();
  }

  /** A wheel by hand: a zip of the module and what describes it. @returns its line in a lock */
  wheel(name: string, version: string, source: string): { line: string; path: string; sha256: string } {
    const info = `${name}-${version}.dist-info`;
    const script = `${name}-${version}.data/scripts/${name}`;
    const files: Record<string, string> = {
      [`${name}.py`]: source,
      [script]: `#!python\nimport ${name}\nprint(${name}.__name__)\n`,
      [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
      [`${info}/WHEEL`]: "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    };
    // What it holds, with hashes, as installers check it.
    const record = Object.entries(files).map(([path, text]) => {
      const hash = createHash("sha256").update(text).digest("base64url");
      return `${path},sha256=${hash},${Buffer.byteLength(text)}`;
    });
    files[`${info}/RECORD`] = `${[...record, `${info}/RECORD,,`].join("\n")}\n`;
    const path = join(this.root, "wheels", `${name}-${version}-py3-none-any.whl`);
    mkdirSync(dirname(path), { recursive: true });
    const bytes = zipOf(files);
    writeFileSync(path, bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { line: `${name} @ ${pathToFileURL(path).href}`, path, sha256 };
  }

  /** A model's file and its description. */
  model(type: string, filename: string, content: string): BuildModel {
    const path = join(this.root, "weights", filename);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    const sha256 = createHash("sha256").update(content).digest("hex");
    const sources = [pathToFileURL(path).href];
    return { type, filename, sha256, sizeBytes: Buffer.byteLength(content), sources };
  }

  async manifest(more: Partial<BuildManifest>): Promise<{ digest: string; manifest: BuildManifest }> {
    const comfyui = more.comfyCommit === undefined ? this.comfyui() : null;
    const manifest = BuildManifest.parse({
      schema: "distribution-definition/0",
      baseComfyVersion: "0.0.1",
      comfyRepository: pathToFileURL(join(this.root, "repositories", "comfyui")).href,
      comfyCommit: comfyui?.commit,
      environment: { os: "any", arch: "any", pythonVersion: pythonHere(), torch: null },
      pipDependencies: [],
      pipIndexes: [],
      customNodes: [],
      models: [],
      launch: { flags: [], cache: "default" },
      ...more,
    });
    return { digest: await buildDigest(manifest), manifest };
  }

  store(more: Partial<BuildStoreOptions> = {}, models: ModelSource = diskModels()): BuildStore {
    return new BuildStore({
      folder: this.builds,
      sources: {
        models,
        registry: { url: "https://registry.example.org", reach: "public" },
        allowFiles: true,
        pythons: [],
      },
      environment: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" },
      freeBytesMin: 0,
      log: this.log.log,
      ...more,
    });
  }
}

/** A model's file as it has to be: a header of one tensor, and its bytes. */
export function tinySafetensors(byte: number): string {
  const header = JSON.stringify({ x: { dtype: "U8", shape: [4], data_offsets: [0, 4] } });
  return `${String.fromCharCode(header.length)}${"\0".repeat(7)}${header}${String.fromCharCode(byte).repeat(4)}`;
}

/** For builds that need none. */
export const noModels: ModelSource = {
  ensureModel: () => Promise.reject(new Error("there are no models here")),
  linkModel: () => Promise.resolve(),
  settled: () => Promise.resolve(),
};

/** A store of models without any of what makes one worth having: it reads the file that the first source names. */
export function diskModels(): ModelSource {
  const pathOf = (model: BuildModel) => new URL(model.sources[0] ?? "file:///nowhere");
  return {
    ensureModel: async (model) => {
      const sha256 = createHash("sha256")
        .update(readFileSync(pathOf(model)))
        .digest("hex");
      if (sha256 !== model.sha256) throw new Error(`its sha256 is ${sha256}, and the build says ${model.sha256}`);
    },
    settled: () => Promise.resolve(),
    linkModel: async (folder, model) => {
      const path = join(folder, "models", model.type, model.filename);
      mkdirSync(dirname(path), { recursive: true });
      rmSync(path, { force: true });
      try {
        linkSync(pathOf(model), path);
      } catch (error) {
        if (!isCode(error, "EXDEV")) throw error;
        cpSync(pathOf(model), path);
      }
    },
  };
}

/** A zip whose entries are stored as they are. */
export function zipOf(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, text] of Object.entries(files)) {
    const [label, content] = [Buffer.from(name), Buffer.from(text)];
    // From the version that reads it to the lengths of what follows.
    const about = Buffer.alloc(26);
    about.writeUInt16LE(20, 0);
    about.writeUInt16LE(0x21, 8);
    about.writeUInt32LE(crc32(content), 10);
    about.writeUInt32LE(content.length, 14);
    about.writeUInt32LE(content.length, 18);
    about.writeUInt16LE(label.length, 22);
    const head = Buffer.concat([Buffer.from("PK\u0003\u0004"), about]);
    parts.push(head, label, content);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(0o100755 * 65_536, 6);
    place.writeUInt32LE(at, 10);
    directory.push(Buffer.concat([Buffer.from("PK\u0001\u0002"), Buffer.from([20, 3]), about, place, label]));
    at += head.length + label.length + content.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", "latin1");
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, listing, end]);
}
