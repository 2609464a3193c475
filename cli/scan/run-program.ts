import { execFile } from "node:child_process";

export interface ProgramResult {
  /** Null when it was ended by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A freeze of a thousand packages has a hundredth of it. */
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Runs a program without a shell and waits for its end.
 * @returns undefined where there is no such program
 */
export function runProgram(
  program: string,
  args: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<ProgramResult | undefined> {
  const { env, timeoutMs: timeout, signal } = options;
  return new Promise((resolve, reject) => {
    const limits = { env, timeout, signal, maxBuffer: OUTPUT_BYTES_MAX, windowsHide: true };
    execFile(program, [...args], limits, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, stdout, stderr });
      else if (signal.aborted) reject(error);
      else if (error.code === "ENOENT" || error.code === "EACCES") resolve(undefined);
      else resolve({ code: typeof error.code === "number" ? error.code : null, stdout, stderr });
    });
  });
}
