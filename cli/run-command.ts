/** From the words on the command line to an exit code. */
import { type ParseArgsOptionsConfig, parseArgs } from "node:util";
import type { Call, Command, Interrupts, Outcome } from "#cli/command";
import { commands } from "#cli/commands/all";
import { connectionOf } from "#cli/connection";
import { CliError, ExitCode, shownError } from "#cli/errors";
import { readable } from "#cli/file-reason";
import { commandHelp } from "#cli/help-text";
import { nearestWord } from "#cli/nearest-word";
import { OUTPUT_FORMATS, Output, type OutputFormat, type TextSink } from "#cli/output";
import { Pilotlight } from "#client/pilotlight";

export interface CommandLine {
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly workingDirectory: string;
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly interrupts: Interrupts;
  readonly readStdin: () => Promise<Uint8Array<ArrayBuffer>>;
  readonly ask: (question: string) => Promise<string | null>;
}

/** Options of every command. */
export const GLOBAL_OPTIONS = {
  help: { type: "boolean", short: "h" },
  json: { type: "boolean" },
  "json-stream": { type: "boolean" },
  output: { type: "string" },
  progress: { type: "string" },
  quiet: { type: "boolean", short: "q" },
  url: { type: "string" },
  token: { type: "string" },
} as const satisfies ParseArgsOptionsConfig;

type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

/** Runs one command. Never throws. */
export async function runCommandLine(line: CommandLine): Promise<number> {
  const { command, rest } = findCommand(commandFirst(line.argv));
  const name = command?.path.join(" ") ?? "pilotlight";
  let output = outputOf(line, guessedFormat(line, command), "auto", false);
  try {
    if (command === undefined) throw unknownCommand(line.argv);
    const { values, positionals } = parse(command, rest);
    output = outputOf(line, formatOf(values, line, command), progressOf(values), values.quiet === true);
    if (values.help === true) {
      output.succeed(name, { data: { help: commandHelp(command) }, text: commandHelp(command) });
      return 0;
    }
    checkPositionals(command, positionals);
    const outcome: Outcome | undefined = await command.run(callOf(line, output, values, positionals));
    if (outcome !== undefined) output.succeed(name, outcome);
    return 0;
  } catch (error) {
    if (line.interrupts.signal.aborted && !(error instanceof CliError)) {
      output.fail(name, shownError(new CliError("interrupted", "Interrupted")));
      return ExitCode.interrupted;
    }
    const shown = shownError(readable(error));
    output.fail(name, shown);
    if (line.env.PILOTLIGHT_LOG === "debug" && error instanceof Error) line.stderr.write(`${error.stack}\n`);
    return shown.exitCode;
  }
}

/** Options of every command may come before it: `--url … jobs ls` is `jobs ls --url …`. */
function commandFirst(argv: readonly string[]): readonly string[] {
  const options: ParseArgsOptionsConfig = GLOBAL_OPTIONS;
  let start = 0;
  for (;;) {
    const word = argv[start] ?? "";
    const [name = ""] = word.split("=", 1);
    const known = Object.entries(options).find(([long, { short }]) => name === `--${long}` || name === `-${short}`);
    if (known === undefined) break;
    start += known[1].type === "string" && name === word ? 2 : 1;
  }
  const rest = argv.slice(start);
  const firstOption = rest.findIndex((word) => word.startsWith("-"));
  const end = firstOption === -1 ? rest.length : firstOption;
  return [...rest.slice(0, end), ...argv.slice(0, start), ...rest.slice(end)];
}

function findCommand(argv: readonly string[]): { command: Command | undefined; rest: readonly string[] } {
  const firstOption = argv.findIndex((word) => word.startsWith("-"));
  const words = firstOption === -1 ? argv : argv.slice(0, firstOption);
  if (words.length === 0) {
    const help = commands.find((command) => command.path.join(" ") === "help");
    const wantsVersion = argv.length === 1 && ["--version", "-v"].includes(argv[0] ?? "");
    const command = wantsVersion ? commands.find((each) => each.path.join(" ") === "version") : help;
    return { command, rest: argv.filter((word) => !["--help", "-h", "--version", "-v"].includes(word)) };
  }
  // `node ls` is `nodes ls`: nobody remembers which nouns are many. What is spelled out goes first.
  const exact = (path: readonly string[]) => Number(path[0] === words[0]);
  const matching = commands
    .filter(({ path }) =>
      path.every(
        (word, index) => words[index] === word || (index === 0 && path.length > 1 && isNumberOf(words[0], word)),
      ),
    )
    .sort((one, other) => exact(other.path) - exact(one.path) || other.path.length - one.path.length);
  const command = matching[0];
  if (command === undefined && words.length === 1 && isFamily(words[0] ?? "")) {
    // A first word alone, with or without --help, asks what there is below it.
    const help = commands.find(({ path }) => path.join(" ") === "help");
    return { command: help, rest: argv.filter((word) => word !== "--help" && word !== "-h") };
  }
  return { command, rest: command === undefined ? argv : argv.slice(command.path.length) };
}

/** Whether one is the other's plural. */
function isNumberOf(one: string | undefined, other: string): boolean {
  return `${one}s` === other || one === `${other}s`;
}

function isFamily(word: string): boolean {
  return commands.some(({ path }) => path.length > 1 && path[0] === word);
}

function unknownCommand(argv: readonly string[]): CliError {
  const words = argv.filter((word) => !word.startsWith("-"));
  const typed = words.slice(0, 2);
  // The longest beginning that commands have: `pods`, or `pods tokens`.
  for (const known of [words.slice(0, 2), words.slice(0, 1)]) {
    const family = commands.filter(
      ({ path }) => path.length > known.length && known.every((word, index) => path[index] === word),
    );
    if (family.length === 0) continue;
    const verbs = [...new Set(family.map(({ path }) => path[known.length] ?? ""))];
    const near = nearestWord(words[known.length] ?? "", verbs);
    const hint =
      near === undefined ? `It takes: ${verbs.join(", ")}` : `Did you mean \`pilotlight ${known.join(" ")} ${near}\`?`;
    return new CliError(
      "unknown_command",
      `There is no command \`${words.slice(0, known.length + 1).join(" ")}\``,
      hint,
    );
  }
  const near = nearestWord(typed[0] ?? "", [...new Set(commands.map((command) => command.path[0] ?? ""))]);
  return new CliError(
    "unknown_command",
    `There is no command \`${typed[0] ?? ""}\``,
    near === undefined ? undefined : `Did you mean \`pilotlight ${near}\`?`,
  );
}

function parse(command: Command, args: readonly string[]): { values: Values; positionals: string[] } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { ...GLOBAL_OPTIONS, ...command.options },
      allowPositionals: true,
      allowNegative: false,
    });
    return { values, positionals };
  } catch (error) {
    // Node's sentence names the option; what follows its first full stop is advice for programmers.
    const message = error instanceof Error ? (error.message.split(". ")[0] ?? error.message) : String(error);
    const typed = /'(--?[^' ]+)/.exec(message)?.[1] ?? "";
    const names = Object.keys({ ...GLOBAL_OPTIONS, ...command.options });
    const near = typed.startsWith("--") ? nearestWord(typed.slice(2), names) : undefined;
    const isUnknown = near !== undefined && near !== typed.slice(2);
    throw new CliError("usage", message, isUnknown ? `Did you mean --${near}?` : undefined);
  }
}

function checkPositionals(command: Command, given: readonly string[]): void {
  const missing = command.positionals[given.length];
  if (missing?.required === true) {
    throw new CliError("usage", `${missing.name} is missing: pilotlight ${command.path.join(" ")} <${missing.name}>`);
  }
  if (command.positionals.at(-1)?.repeated === true) return;
  const extra = given[command.positionals.length];
  if (extra !== undefined) throw new CliError("usage", `${extra} is one argument too many`);
}

function callOf(line: CommandLine, output: Output, values: Values, positionals: readonly string[]): Call {
  const text = (option: string): string | undefined => {
    const value = values[option];
    return typeof value === "string" ? value : undefined;
  };
  return {
    positionals,
    text,
    texts: (option) => {
      const value = values[option];
      return Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
    },
    flag: (option) => values[option] === true,
    integer: (option, minimum, maximum) => {
      const value = text(option);
      if (value === undefined) return undefined;
      const number = /^-?[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN;
      if (!(number >= minimum && number <= maximum)) {
        throw new CliError("usage", `--${option} must be a whole number from ${minimum} to ${maximum}, not ${value}`);
      }
      return number;
    },
    env: line.env,
    workingDirectory: line.workingDirectory,
    output,
    interrupts: line.interrupts,
    connect: async () => {
      const options = { url: text("url"), token: text("token") };
      const onRetry = ({ detail }: { readonly detail: string }) =>
        output.progress(`${detail}; trying again …`, "trying again");
      return new Pilotlight({ ...(await connectionOf(options, line.env)), onRetry, retryForMs: retryForMs(line.env) });
    },
    readStdin: line.readStdin,
    ask: line.ask,
  };
}

/** How long calls are repeated, ms; the client's own time when PILOTLIGHT_RETRY_S is not set. */
function retryForMs({ PILOTLIGHT_RETRY_S: text }: NodeJS.ProcessEnv): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (!/^[0-9]{1,6}$/.test(text)) throw new CliError("usage", `PILOTLIGHT_RETRY_S is a number of seconds, not ${text}`);
  return Number(text) * 1_000;
}

/** Before the options are read, errors about them must already know where to go. */
function guessedFormat(line: CommandLine, command: Command | undefined): OutputFormat {
  if (line.argv.includes("--json-stream")) return "ndjson";
  if (line.argv.includes("--json")) return "json";
  const wanted = line.env.PILOTLIGHT_OUTPUT;
  return OUTPUT_FORMATS.find((each) => each === wanted) ?? defaultFormat({ ...line, env: {} }, command);
}

function formatOf(values: Values, line: CommandLine, command: Command): OutputFormat {
  if (values["json-stream"] === true) return "ndjson";
  if (values.json === true) return "json";
  if (typeof values.output === "string") return knownFormat(values.output, "--output");
  return defaultFormat(line, command);
}

function defaultFormat(line: CommandLine, command: Command | undefined): OutputFormat {
  if (line.env.PILOTLIGHT_OUTPUT !== undefined && line.env.PILOTLIGHT_OUTPUT !== "") {
    return knownFormat(line.env.PILOTLIGHT_OUTPUT, "PILOTLIGHT_OUTPUT");
  }
  return command?.forPeople === true || line.stdout.isTTY === true ? "text" : "json";
}

function knownFormat(text: string, source: string): OutputFormat {
  const format = OUTPUT_FORMATS.find((each) => each === text);
  if (format === undefined)
    throw new CliError("usage", `${source} is one of ${OUTPUT_FORMATS.join(", ")}, not ${text}`);
  return format;
}

type ProgressMode = "auto" | "tty" | "plain" | "quiet";

function progressOf(values: Values): ProgressMode {
  const given = values.progress ?? "auto";
  if (given === "auto" || given === "tty" || given === "plain" || given === "quiet") return given;
  throw new CliError("usage", `--progress is one of auto, tty, plain, quiet, not ${String(given)}`);
}

function outputOf(line: CommandLine, format: OutputFormat, progress: ProgressMode, quiet: boolean): Output {
  const { env, stderr } = line;
  const canAnimate = stderr.isTTY === true && (env.CI ?? "") === "" && env.TERM !== "dumb";
  return new Output({
    stdout: line.stdout,
    stderr,
    format,
    animate: progress === "tty" || (progress === "auto" && canAnimate),
    quiet: quiet || progress === "quiet",
  });
}
