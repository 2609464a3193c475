/** A small filesystem that can be filled to the last byte and emptied again, without touching anybody else's. */
import { execFile, spawn } from "node:child_process";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const PIECE = Buffer.alloc(1024 * 1024, 1);
/** Set in the process that runs inside mount and user namespaces of its own. */
const INSIDE = "PILOTLIGHT_CHAOS_INSIDE";

export class SmallDisk {
  readonly folder: string;
  readonly #ballast: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.#ballast = join(folder, "ballast");
  }

  /**
   * Puts a filesystem of so many MiB over a folder. It lives in memory and ends with the namespace.
   * @returns null where this process may not mount
   */
  static async mount(folder: string, mebibytes: number): Promise<SmallDisk | null> {
    // Outside a namespace of its own the mount would stay after the run.
    if (process.env[INSIDE] !== "1") return null;
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m,mode=700`, "pilotlight-chaos", folder]);
    } catch {
      return null;
    }
    return new SmallDisk(folder);
  }

  /** Leaves no room for a single byte. */
  async fill(): Promise<void> {
    const file = await open(this.#ballast, "w");
    try {
      for (const piece of [PIECE, PIECE.subarray(0, 4096), PIECE.subarray(0, 1)]) {
        while (await wrote(file, piece));
      }
    } finally {
      await file.close();
    }
  }

  async free(): Promise<void> {
    await rm(this.#ballast, { force: true });
  }

  /** Takes it away, with all that is on it. */
  async unmount(): Promise<void> {
    await run("umount", ["--lazy", this.folder]);
  }
}

async function wrote(file: Awaited<ReturnType<typeof open>>, piece: Buffer): Promise<boolean> {
  try {
    const { bytesWritten } = await file.write(piece);
    return bytesWritten === piece.length;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOSPC") return false;
    throw error;
  }
}

/**
 * Runs this program again where it may mount: in namespaces of its own, which need no root.
 * @returns its exit code; null where namespaces are not to be had, or when this is the inner one already
 */
export async function insideNamespaces(argv: readonly string[]): Promise<number | null> {
  if (process.env[INSIDE] === "1" || process.platform !== "linux") return null;
  const flags = ["--user", "--map-root-user", "--mount"];
  try {
    await run("unshare", [...flags, "true"]);
  } catch {
    return null;
  }
  const child = spawn("unshare", [...flags, process.execPath, ...process.execArgv, ...argv], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" },
  });
  // The one inside ends everything first; a terminal's Ctrl-C reaches it by itself.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return await new Promise((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", (code) => resolve(code ?? 1));
  });
}
