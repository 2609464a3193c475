import { capacityText } from "#cli/capacity-text";
import type { Call, Command } from "#cli/command";
import { confirmName } from "#cli/confirm-name";
import { CliError } from "#cli/errors";
import { nodeState } from "#cli/node-figures";
import { podIdNamed, podNamed } from "#cli/pod-names";
import { podOptionHelp, podOptions, podSettingsOf } from "#cli/pod-settings";
import { textTable } from "#cli/text-table";
import type { Pilotlight } from "#client/pilotlight";
import { JOIN_TOKEN_S_MAX, JOIN_TOKEN_USES_MAX } from "#contract/limits";
import type { JoinToken, Pod } from "#contract/replica";

const pod = { name: "pod", required: true };

export const podsList: Command = {
  path: ["pods", "ls"],
  summary: "List pods; the first one is for endpoints that name none",
  examples: ["pilotlight pods ls"],
  positionals: [],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const client = await call.connect();
    const data = await client.pods.list({ signal: call.interrupts.signal });
    const rows = data.map((each) => [
      each.id,
      each.name,
      each.gpu_types.join(", ") || "any",
      each.containers_max === null ? "by slots" : String(each.containers_max),
      each.regions.join(", ") || "any",
      String(each.min_replicas),
      each.description,
    ]);
    const header = ["pod", "name", "cards", "containers", "regions", "warm", "description"];
    return { data: { data }, ids: data.map(({ id }) => id), text: textTable(header, rows) };
  },
};

export const podsShow: Command = {
  path: ["pods", "show"],
  summary: "Show a pod: its settings, what an hour of its cards costs, its slots and replicas, who waits, its nodes",
  examples: ["pilotlight pods show default"],
  positionals: [pod],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const found = await client.pods.get(await podIdNamed(client, call.positionals[0], signal), { signal });
    const nodes = await client.nodes.list(found.id, { signal });
    const rows = nodes.map((node) => [
      node.name,
      node.id,
      nodeState(node),
      node.gpu_type ?? "–",
      `${node.slots.filter(({ replica_id }) => replica_id !== null).length} of ${node.slots.length}`,
    ]);
    return {
      data: { pod: found, nodes },
      ids: [found.id],
      text: [
        ...podLines(found),
        ...(await priceLines(client, found, [...found.gpu_types, ...nodes.map(({ gpu_type }) => gpu_type)], signal)),
        "",
        ...capacityText(found.capacity, Date.now()),
        "",
        ...(rows.length === 0
          ? ["No node has joined. `pilotlight pods tokens create` makes a token."]
          : textTable(["node", "id", "state", "card", "slots used"], rows)),
      ],
    };
  },
};

/** What an hour costs of the cards that the pod takes or has. */
async function priceLines(
  client: Pilotlight,
  { prices }: Pod,
  cards: readonly (string | null)[],
  signal: AbortSignal,
): Promise<string[]> {
  const { data } = await client.gpuTypes.list({ signal });
  return [...new Set(cards)].flatMap((card) => {
    const type = data.find(({ name }) => name === card);
    if (type === undefined) return [];
    const own = prices[type.name];
    const source =
      own !== undefined ? "of this pod" : type.own || type.changed.length > 0 ? "of the workspace" : "shipped";
    return [`${type.name}: $${(own ?? type.price_per_hour).toFixed(2)} an hour (${source})`];
  });
}

function podLines(found: Pod): string[] {
  const any = (names: readonly string[]) => names.join(", ") || "any";
  return [
    `${found.name}  ${found.id}`,
    ...(found.description === "" ? [] : [found.description]),
    `cards: ${any(found.gpu_types)}`,
    `containers: ${found.containers_max ?? "as many as its nodes have slots"}`,
    `regions: ${any(found.regions)}`,
    `kept warm: ${found.min_replicas}`,
    `idle timeout: ${found.idle_timeout_s === null ? "as each endpoint says" : `${found.idle_timeout_s} s`}`,
  ];
}

export const podsCreate: Command = {
  path: ["pods", "create"],
  summary: "Make a pod: an allotment of GPUs that machines join and endpoints use",
  examples: [
    "pilotlight pods create rack --gpu rtx-4090 --gpu rtx-3090 --region home --price rtx-4090=0.08",
    "pilotlight pods create cloud --gpu h100-80 --containers 4",
  ],
  positionals: [{ name: "name", required: true }],
  options: podOptions,
  optionHelp: podOptionHelp,
  run: async (call) => {
    const settings = podSettingsOf(call, {});
    const client = await call.connect();
    const made = await client.pods.create(
      { name: call.positionals[0] ?? "", ...settings },
      { signal: call.interrupts.signal },
    );
    const next = `  Machines join with a token: pilotlight pods tokens create ${made.id}`;
    return { data: { pod: made }, ids: [made.id], text: [...podLines(made), next] };
  },
};

export const podsSet: Command = {
  path: ["pods", "set"],
  summary: "Change a pod's name or settings",
  examples: ["pilotlight pods set rack --name cellar --containers 2", "pilotlight pods set rack --price rtx-4090=none"],
  positionals: [pod],
  options: { name: { type: "string" }, ...podOptions },
  optionHelp: { name: "its new name", ...podOptionHelp },
  run: async (call) => {
    const { signal } = call.interrupts;
    const name = call.text("name");
    // Read before anything is asked of the server, so that wrong words are told at once.
    if (name === undefined && Object.keys(podSettingsOf(call, {})).length === 0) {
      throw new CliError("usage", "Nothing to change: give a name or at least one setting");
    }
    const client = await call.connect();
    const found = await podNamed(client, call.positionals[0], signal);
    const patch = { ...(name === undefined ? {} : { name }), ...podSettingsOf(call, found.prices) };
    const changed = await client.pods.patch(found.id, patch, { signal });
    return { data: { pod: changed }, ids: [changed.id], text: podLines(changed) };
  },
};

export const podsRemove: Command = {
  path: ["pods", "rm"],
  summary: "Delete a pod that no endpoint uses and no node is online in; asks for its name",
  examples: ["pilotlight pods rm rack", "pilotlight pods rm rack --yes"],
  positionals: [pod],
  options: { yes: { type: "boolean" } },
  optionHelp: { yes: "do not ask" },
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const found = await podNamed(client, call.positionals[0], signal);
    await confirmName(call, found.name, `This deletes ${found.name}, its tokens and its nodes.`, "pods rm");
    await client.pods.delete(found.id, { signal });
    return { data: { deleted: found.id }, text: `${found.name} is deleted.` };
  },
};

export const podsTokensList: Command = {
  path: ["pods", "tokens", "ls"],
  summary: "List a pod's join tokens, newest first",
  examples: ["pilotlight pods tokens ls rack"],
  positionals: [{ name: "pod", required: false }],
  options: {},
  optionHelp: {},
  run: async (call) => {
    const { signal } = call.interrupts;
    const client = await call.connect();
    const id = await podIdNamed(client, call.positionals[0], signal);
    const data: JoinToken[] = [];
    for await (const token of client.pods.joinTokens(id, { signal })) data.push(token);
    const rows = data.map((token) => [
      token.id,
      token.name || "–",
      `${token.uses} of ${token.uses_max ?? "any"}`,
      tokenState(token, Date.now()),
      token.expires_at,
    ]);
    return {
      data: { data },
      ids: data.map((token) => token.id),
      text: textTable(["token", "name", "machines", "state", "expires"], rows),
    };
  },
};

function tokenState({ revoked_at, expires_at, uses, uses_max }: JoinToken, nowMs: number): string {
  if (revoked_at !== null) return "revoked";
  if (Date.parse(expires_at) <= nowMs) return "expired";
  return uses_max !== null && uses >= uses_max ? "used" : "open";
}

export const tokenOptions = {
  name: { type: "string" },
  uses: { type: "string" },
  "expires-in": { type: "string" },
} as const;
export const tokenOptionHelp = {
  name: "what it is for",
  uses: "machines that may join with it, 1 for a one-time token; any number when left out",
  "expires-in": "seconds; a day when left out",
};

export const podsTokensCreate: Command = {
  path: ["pods", "tokens", "create"],
  summary: "Make a join token for other machines; it is shown once",
  examples: ["pilotlight pods tokens create rack --uses 1", "pilotlight pods tokens create --expires-in 3600"],
  positionals: [{ name: "pod", required: false }],
  options: tokenOptions,
  optionHelp: tokenOptionHelp,
  run: (call) => makeToken(call, call.positionals[0]),
};

/** @param named the pod; the oldest when left out */
export async function makeToken(call: Call, named: string | undefined) {
  const { signal } = call.interrupts;
  const expiresIn = call.integer("expires-in", 60, JOIN_TOKEN_S_MAX);
  const uses = call.integer("uses", 1, JOIN_TOKEN_USES_MAX);
  const name = call.text("name");
  const client = await call.connect();
  const { id, name: podName } = await podNamed(client, named, signal);
  const token = await client.pods.createJoinToken(
    id,
    {
      ...(name === undefined ? {} : { name }),
      ...(expiresIn === undefined ? {} : { expires_in: expiresIn }),
      ...(uses === undefined ? {} : { uses_max: uses }),
    },
    { signal },
  );
  const machines = uses === undefined ? "any number of machines" : uses === 1 ? "one machine" : `${uses} machines`;
  return {
    data: { join_token: token },
    ids: [token.id],
    text: [
      token.token ?? "",
      `  for ${machines} to join ${podName} until ${token.expires_at}; not shown again. On the other machine:`,
      `  npm run pilotlight -- node join --url ${client.baseUrl} --join-token ${token.token ?? "…"}`,
    ],
  };
}

export const podsTokensRevoke: Command = {
  path: ["pods", "tokens", "revoke"],
  summary: "Revoke a join token; machines that have joined stay",
  examples: ["pilotlight pods tokens revoke jt_…", "pilotlight pods tokens revoke jt_… --pod rack"],
  positionals: [{ name: "token", required: true }],
  options: { pod: { type: "string" } },
  optionHelp: { pod: "its pod, by id or name; the first when left out" },
  run: async (call) => {
    const { signal } = call.interrupts;
    const token = call.positionals[0] ?? "";
    const client = await call.connect();
    const id = await podIdNamed(client, call.text("pod"), signal);
    await client.pods.revokeJoinToken(id, token, { signal });
    return { data: { revoked: token }, text: `${token} is revoked.` };
  },
};
