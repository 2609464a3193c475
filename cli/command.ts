/** What a command is. */
import type { ParseArgsOptionsConfig } from "node:util";
import type { Output } from "#cli/output";
import type { Pilotlight } from "#client/pilotlight";

export interface Positional {
  readonly name: string;
  readonly required: boolean;
  /** Any number of them; only the last positional can be. */
  readonly repeated?: boolean;
}

/** What a command says when it has succeeded. */
export interface Outcome {
  /** For programs: the envelope's data. */
  readonly data: unknown;
  /** For people. */
  readonly text?: string | readonly string[];
  /** For `--output id`. */
  readonly ids?: readonly string[];
}

/** First and second Ctrl-C (or SIGTERM). */
export interface Interrupts {
  /** Aborted by the first. */
  readonly signal: AbortSignal;
  /** Aborted by the second: leave at once. */
  readonly force: AbortSignal;
}

export interface Call {
  readonly positionals: readonly string[];
  /** One value of an option; undefined when it was not given. */
  text(option: string): string | undefined;
  /** All values of an option that may be repeated. */
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /**
   * A whole number of an option.
   * @throws CliError `usage` when it is none or out of range
   */
  integer(option: string, minimum: number, maximum: number): number | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Paths that people type are relative to this folder. */
  readonly workingDirectory: string;
  readonly output: Output;
  readonly interrupts: Interrupts;
  /** The service the options, the environment or the local server name. */
  connect(): Promise<Pilotlight>;
  readStdin(): Promise<Uint8Array<ArrayBuffer>>;
  /** Asks the person at the terminal for a line; null when there is none to ask. */
  ask(question: string): Promise<string | null>;
}

export interface Command {
  /** Words that name it: `["jobs", "ls"]`. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly examples: readonly string[];
  readonly positionals: readonly Positional[];
  readonly options: ParseArgsOptionsConfig;
  /** What each option means, for --help. */
  readonly optionHelp: Readonly<Record<string, string>>;
  /** Prints for people even when its output is not a terminal; JSON only when asked. */
  readonly forPeople?: boolean;
  run(call: Call): Promise<Outcome | undefined>;
}
