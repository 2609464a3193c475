/** The file that a plot goes to. */
import { access, constants, open, stat, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { CliError } from "#cli/errors";
import { fileReason } from "#cli/file-reason";

const HINT = "--plot takes the name of a file, in a folder that is there.";
/** So far into a file its kind shows. */
const KIND_BYTES = 1_024;

/**
 * Before minutes of replays, and not after them.
 * @throws CliError when no file can be written there, or one would be overwritten that is no plot
 */
export async function checkPlotFile(workingDirectory: string, path: string): Promise<void> {
  const file = resolve(workingDirectory, path);
  const found = await access(dirname(file), constants.W_OK)
    .then(() => stat(file).catch(() => null))
    .catch((cause: unknown) => {
      throw new CliError("file_unusable", `--plot ${path}: no file can be written in ${dirname(file)}`, HINT, {
        cause,
      });
    });
  if (found?.isDirectory() === true) throw new CliError("file_unusable", `--plot ${path}: it is a folder`, HINT);
  if (!/\.svg$/i.test(path)) throw new CliError("usage", `--plot ${path}: it is SVG, so its name must end in .svg`);
  if (found !== null && !(await isSvg(file))) {
    throw new CliError(
      "usage",
      `--plot ${path}: there is a file of this name which is no SVG, and which it would overwrite`,
    );
  }
}

/** @throws CliError `file_unusable` */
export async function writePlotFile(workingDirectory: string, path: string, svg: string): Promise<void> {
  try {
    await writeFile(resolve(workingDirectory, path), svg);
  } catch (cause) {
    throw new CliError("file_unusable", `--plot ${path}: ${fileReason(cause)}`, HINT, { cause });
  }
}

/** Whether that is what a file holds, or nothing at all. What cannot be read is for the writing to say. */
async function isSvg(file: string): Promise<boolean> {
  const handle = await open(file).catch(() => null);
  if (handle === null) return true;
  try {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(KIND_BYTES), 0, KIND_BYTES, 0);
    const text = new TextDecoder().decode(buffer.subarray(0, bytesRead)).trim();
    return text === "" || (text.startsWith("<") && text.includes("<svg"));
  } finally {
    await handle.close();
  }
}
