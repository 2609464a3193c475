import { CliError } from "#cli/errors";
import { Credentials, RunningServer, readJsonFile, stateFolderAt, stateRootOf } from "#cli/local/state-folder";

export interface Connection {
  readonly baseUrl: string;
  readonly token: string;
}

/** Where the local server listens when it has not told its address: before it starts, and after it was stopped. */
export function localUrl(env: NodeJS.ProcessEnv): string {
  return `http://127.0.0.1:${nonEmpty(env.PILOTLIGHT_PORT) ?? "8787"}`;
}

/**
 * Which service to call and with which key. An option goes before the environment (PILOTLIGHT_API_URL,
 * PILOTLIGHT_TOKEN), and that before the local server's state folder. The local key is never sent to another server.
 * @throws CliError `not_logged_in`, `usage`
 */
export async function connectionOf(
  options: { readonly url?: string | undefined; readonly token?: string | undefined },
  env: NodeJS.ProcessEnv,
): Promise<Connection> {
  const named = options.url ?? nonEmpty(env.PILOTLIGHT_API_URL);
  const token = options.token ?? nonEmpty(env.PILOTLIGHT_TOKEN);
  if (named !== undefined && !/^https?:\/\//.test(named)) {
    throw new CliError("usage", `The server's address must start with http:// or https://, not ${named}`);
  }
  const state = stateFolderAt(stateRootOf(env));
  const running = await readJsonFile(state.server, RunningServer);
  const baseUrl = named ?? running?.url ?? localUrl(env);
  if (token !== undefined) return { baseUrl, token };
  const isLocal = named === undefined || named.replace(/\/+$/, "") === (running?.url ?? localUrl(env));
  const credentials = isLocal ? await readJsonFile(state.credentials, Credentials) : null;
  if (credentials === null) throw new CliError("not_logged_in", `There is no key for ${baseUrl}`);
  return { baseUrl, token: credentials.key };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === "" ? undefined : text;
}
