import type { Command } from "#cli/command";
import { connectionOf } from "#cli/connection";
import { type Finding, findings } from "#cli/doctor";
import { CliError } from "#cli/errors";

const MARKS: Readonly<Record<Finding["level"], string>> = { ok: "ok   ", warning: "warn ", problem: "FAIL " };

export const doctor: Command = {
  path: ["doctor"],
  summary: "Look at this machine, the server, the key, the nodes and ComfyUI; every finding has a code",
  examples: ["pilotlight doctor", "pilotlight doctor --json"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const connection = await connectionOf({ url: call.text("url"), token: call.text("token") }, call.env).catch(
      (error: unknown) => {
        if (error instanceof CliError && error.code === "not_logged_in") return null;
        throw error;
      },
    );
    const all = await findings({ env: call.env, connection, url: call.text("url"), signal: call.interrupts.signal });
    const lines = all.map(({ level, code, detail, hint }) => {
      const advice = hint === null ? "" : `\n       ${hint}`;
      return `${MARKS[level]} ${code.padEnd(16)} ${detail}${advice}`;
    });
    const problems = all.filter(({ level }) => level === "problem");
    if (problems.length > 0) {
      if (call.output.format === "text") for (const line of lines) call.output.say(line);
      const codes = problems.map(({ code }) => code).join(", ");
      throw new CliError("doctor_found", `Problems: ${codes}`, undefined, { details: { findings: all } });
    }
    return { data: { findings: all }, text: lines };
  },
};
