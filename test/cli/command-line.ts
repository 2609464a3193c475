import { type CommandLine, runCommandLine } from "#cli/run-command";

export interface CommandLineResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command inside the test's own process. */
export async function runHere(
  argv: readonly string[],
  options: {
    env?: Record<string, string>;
    isTerminal?: boolean;
    stdin?: string;
    signal?: AbortSignal;
    answer?: string;
    workingDirectory?: string;
  } = {},
): Promise<CommandLineResult> {
  let stdout = "";
  let stderr = "";
  const line: CommandLine = {
    argv,
    env: { PILOTLIGHT_STATE_DIR: "/nonexistent/pilotlight-state", ...options.env },
    workingDirectory: options.workingDirectory ?? import.meta.dirname,
    stdout: {
      isTTY: options.isTerminal === true,
      write: (text) => {
        stdout += text;
      },
    },
    stderr: {
      isTTY: options.isTerminal === true,
      write: (text) => {
        stderr += text;
      },
    },
    interrupts: { signal: options.signal ?? new AbortController().signal, force: new AbortController().signal },
    ask: async (question) => {
      if (options.answer === undefined) return null;
      stderr += question;
      return options.answer;
    },
    readStdin: async () => new TextEncoder().encode(options.stdin ?? ""),
  };
  const code = await runCommandLine(line);
  return { code, stdout, stderr };
}
