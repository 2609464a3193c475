import type { Command } from "#cli/command";
import { CliError, cliErrors, ExitCode } from "#cli/errors";
import { commandHelp, shownPositional } from "#cli/help-text";

/**
 * The command that lists the others.
 * @param all gives them; asked when it runs, because it is one of them
 */
export function helpAbout(all: () => readonly Command[]): Command {
  return {
    path: ["help"],
    summary: "List the commands, or those that begin with a word",
    examples: ["pilotlight help", "pilotlight help queue", "pilotlight help --json"],
    positionals: [{ name: "word", required: false }],
    options: {},
    optionHelp: {},
    forPeople: true,
    run: async ({ positionals: [word] }) => {
      const chosen = word === undefined ? all() : all().filter(({ path }) => path[0] === word);
      if (chosen.length === 0) throw new CliError("unknown_command", `There is no command \`${word}\``);
      if (word === undefined) return { data: described(chosen), text: overview(chosen) };
      const [only] = chosen;
      const isOneCommand = chosen.length === 1 && only?.path.length === 1;
      return { data: described(chosen), text: isOneCommand ? commandHelp(only) : family(word, chosen) };
    },
  };
}

function described(commands: readonly Command[]) {
  return {
    commands: commands.map(({ path, summary, examples, positionals, options, optionHelp }) => ({
      command: path.join(" "),
      summary,
      examples,
      positionals,
      options: Object.entries(options).map(([name, { type, multiple }]) => ({
        name,
        type,
        multiple: multiple ?? false,
        help: optionHelp[name] ?? "",
      })),
    })),
    exit_codes: ExitCode,
    errors: cliErrors,
  };
}

function listed(commands: readonly Command[]): string[] {
  const width = Math.max(...commands.map((command) => usageOf(command).length));
  return commands.map((command) => `  ${usageOf(command).padEnd(width)}  ${command.summary}`);
}

function family(word: string, commands: readonly Command[]): string[] {
  return [`Commands of \`pilotlight ${word}\` (\`--help\` after one says more):`, ...listed(commands)];
}

function overview(commands: readonly Command[]): string[] {
  return [
    "Pilotlight turns ComfyUI workflows into HTTPS APIs.",
    "",
    "  npm start                                                          the whole system on this machine",
    "  pilotlight deploy workflow_api.json                                make an endpoint",
    '  pilotlight run text-to-image -i prompt="a fox in the snow" -o out  call it',
    "",
    "Commands (`pilotlight <command> --help` says more):",
    ...listed(commands),
    "",
    "From this folder: npm run pilotlight -- <command>",
    "",
    "Environment: PILOTLIGHT_API_URL, PILOTLIGHT_TOKEN (else the server of `npm start`), PILOTLIGHT_OUTPUT, PILOTLIGHT_PORT,",
    "PILOTLIGHT_RETRY_S (how long calls are repeated; 60), PILOTLIGHT_STATE_DIR, COMFYUI_DIR, COMFYUI_URL,",
    "COMFYUI_STAND_IN=1, PILOTLIGHT_LOG=debug.",
    "",
    "When standard output is no terminal it gets one JSON envelope. Exit codes: 0 done, 1 failed, 2 wrong use,",
    "3 the job failed, 4 not allowed, 5 not found, 6 still running, 7 limit or budget, 8 no server, 130 interrupted.",
  ];
}

function usageOf({ path, positionals }: Command): string {
  return [...path, ...positionals.map(shownPositional)].join(" ");
}
