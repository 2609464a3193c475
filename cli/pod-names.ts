/** Pods and nodes as people name them on the command line: by id or by name. */
import { CliError } from "#cli/errors";
import { nearestWord } from "#cli/nearest-word";
import type { Pilotlight } from "#client/pilotlight";
import { NodeId, ownerKey, PodId } from "#contract/ids";
import type { NodeSummary, Pod } from "#contract/replica";

/**
 * The pod of an id or a name; without one the oldest, which is the workspace's default. Looked up in the list, which the
 * server answers also while the pod's own object is away.
 * @throws CliError `no_pod`
 */
export async function podNamed(client: Pilotlight, named: string | undefined, signal: AbortSignal): Promise<Pod> {
  const pods = await client.pods.list({ signal });
  const byName = () => pods.find(({ name }) => name === named);
  const pod = named === undefined ? pods[0] : (pods.find(({ id }) => id === named) ?? byName());
  if (pod !== undefined) return pod;
  if (named === undefined)
    throw new CliError("no_pod", "The workspace has no pod", "`pilotlight pods create` makes one.");
  const names = pods.map(({ name }) => name);
  const near = nearestWord(named, names);
  const hint = near === undefined ? `There are: ${names.join(", ") || "none"}` : `Did you mean ${near}?`;
  throw new CliError("no_pod", `There is no pod called ${named}`, hint);
}

/**
 * The id of such a pod; one that is named by its id is not looked up.
 * @throws CliError `no_pod`
 */
export async function podIdNamed(client: Pilotlight, named: string | undefined, signal: AbortSignal): Promise<PodId> {
  const id = PodId.safeParse(named);
  return id.success ? id.data : (await podNamed(client, named, signal)).id;
}

/** All pods, or the one that is named. */
export async function podsNamed(client: Pilotlight, named: string | undefined, signal: AbortSignal): Promise<Pod[]> {
  return named === undefined ? client.pods.list({ signal }) : [await podNamed(client, named, signal)];
}

/** Where a node is. */
export interface NodePlace {
  readonly pod: string;
  readonly node: string;
}

/**
 * The node of an id or a name.
 * @param pod the pod to look in, by id or name; all of them when left out
 * @throws CliError `no_node` when there is none, or several have the name
 */
export async function nodeNamed(
  client: Pilotlight,
  named: string,
  pod: string | undefined,
  signal: AbortSignal,
): Promise<NodePlace> {
  const pods = await podsNamed(client, pod, signal);
  const id = NodeId.safeParse(named);
  if (id.success) {
    // A node's id carries its pod's key.
    const owner = pods.find((each) => ownerKey(each.id) === ownerKey(id.data));
    if (owner !== undefined) return { pod: owner.id, node: named };
    throw new CliError("no_node", `No pod has the node ${named}`);
  }
  const nodes: NodeSummary[] = [];
  for (const each of pods) nodes.push(...(await client.nodes.list(each.id, { signal })));
  const found = nodes.filter(({ name }) => name === named);
  const [only] = found;
  if (only !== undefined && found.length === 1) return { pod: only.pod_id, node: only.id };
  if (found.length > 1) {
    const ids = found.map((node) => `${node.id} (${node.online ? "online" : "offline"})`);
    throw new CliError("no_node", `${found.length} nodes are called ${named}`, `Name one by its id: ${ids.join(", ")}`);
  }
  const names = [...new Set(nodes.map(({ name }) => name))];
  const near = nearestWord(named, names);
  const hint = near === undefined ? `There are: ${names.join(", ") || "none"}` : `Did you mean ${near}?`;
  throw new CliError("no_node", `There is no node called ${named}`, hint);
}
