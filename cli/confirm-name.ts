import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";

/**
 * Asks for the endpoint's name before something goes that cannot be brought back; `--yes` says it beforehand.
 * @param loss a sentence that says what goes
 * @param command its words, for whoever cannot be asked
 * @throws CliError `usage` when nobody can be asked, `interrupted` when the name is not typed
 */
export async function confirmName(call: Call, slug: string, loss: string, command: string): Promise<void> {
  if (call.flag("yes")) return;
  const typed = await call.ask(`${loss} Type its name to go on: `);
  if (typed === null) throw new CliError("usage", `${command} asks first: say --yes`);
  if (typed.trim() !== slug) throw new CliError("interrupted", "That is not its name; nothing was removed");
}
