import type { Command, Positional } from "#cli/command";

/** What `--help` of one command prints: examples first. */
export function commandHelp(command: Command): string {
  const name = `pilotlight ${command.path.join(" ")}`;
  const positionals = command.positionals.map(shownPositional);
  const options = Object.entries(command.options).map(([option, { type, short }]) => {
    const value = type === "string" ? " …" : "";
    const label = `${short === undefined ? "    " : `-${short}, `}--${option}${value}`;
    return `  ${label.padEnd(26)}${command.optionHelp[option] ?? ""}`;
  });
  return [
    command.summary,
    "",
    ...command.examples.map((example) => `  ${example}`),
    "",
    `Usage: ${[name, ...positionals, ...(options.length === 0 ? [] : ["[options]"])].join(" ")}`,
    ...(options.length === 0 ? [] : ["", "Options:", ...options]),
    "",
    "Options of every command: --json, --json-stream, --output text|json|ndjson|id, --progress auto|tty|plain|quiet,",
    "--quiet, --url, --token, --help. `pilotlight help` says more.",
  ].join("\n");
}

/** A positional in a line of usage. */
export function shownPositional({ name, required, repeated }: Positional): string {
  return `${required ? `<${name}>` : `[${name}]`}${repeated === true ? "…" : ""}`;
}
