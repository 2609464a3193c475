import type { Command } from "#cli/command";
import { CliError } from "#cli/errors";
import { textTable } from "#cli/text-table";
import { type ApiKey, Scope } from "#contract/access";

const SECONDS_MAX = 10 * 365 * 86_400;

export const keysCreate: Command = {
  path: ["keys", "create"],
  summary: "Make an API key; it is shown once",
  examples: ["pilotlight keys create --name ci --scopes run,read"],
  positionals: [],
  options: { name: { type: "string" }, scopes: { type: "string" }, "expires-in": { type: "string" } },
  optionHelp: {
    name: "what it is for",
    scopes: `some of ${Scope.options.join(",")}`,
    "expires-in": "seconds; never when left out",
  },
  run: async (call) => {
    const name = call.text("name");
    if (name === undefined) throw new CliError("usage", "--name is missing: say what the key is for");
    const scopes = (call.text("scopes") ?? "run,read").split(",").map((each) => {
      const scope = Scope.safeParse(each.trim());
      if (!scope.success) throw new CliError("usage", `--scopes takes some of ${Scope.options.join(",")}, not ${each}`);
      return scope.data;
    });
    const expiresIn = call.integer("expires-in", 60, SECONDS_MAX);
    const client = await call.connect();
    const key = await client.keys.create(
      { name, scopes, ...(expiresIn === undefined ? {} : { expires_in: expiresIn }) },
      { signal: call.interrupts.signal },
    );
    return {
      data: { key },
      ids: [key.id],
      text: [key.key ?? "", `  ${key.id}, scopes ${key.scopes.join(", ")}. It is not shown again.`],
    };
  },
};

export const keysList: Command = {
  path: ["keys", "ls"],
  summary: "List API keys",
  examples: ["pilotlight keys ls"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const data: ApiKey[] = [];
    for await (const key of client.keys.list({ signal: call.interrupts.signal })) data.push(key);
    const rows = data.map(({ id, name, hint, scopes, created_at, expires_at, revoked_at }) => [
      id,
      name,
      hint,
      scopes.join(","),
      created_at,
      revoked_at === null ? (expires_at ?? "never") : "revoked",
    ]);
    return {
      data: { data },
      ids: data.map(({ id }) => id),
      text: textTable(["key", "name", "hint", "scopes", "created", "expires"], rows),
    };
  },
};

export const keysRevoke: Command = {
  path: ["keys", "revoke"],
  summary: "Revoke an API key; it stops working within a minute everywhere",
  examples: ["pilotlight keys revoke key_…"],
  positionals: [{ name: "key", required: true }],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const key = call.positionals[0] ?? "";
    await client.keys.revoke(key, { signal: call.interrupts.signal });
    return { data: { revoked: key }, text: `${key} is revoked.` };
  },
};
