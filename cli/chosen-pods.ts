/** The pods of an endpoint as the command line names them. */
import type { Call } from "#cli/command";
import { CliError } from "#cli/errors";
import { podNamed } from "#cli/pod-names";
import type { Pilotlight } from "#client/pilotlight";
import type { EndpointPods } from "#contract/endpoint";
import { Lane } from "#contract/job";

export const podOptions = { pod: { type: "string", multiple: true } } as const;
export const podHelp: Readonly<Record<keyof typeof podOptions, string>> = {
  pod: "where its replicas run, by id or name, the preferred pod first; may be repeated; with :interactive or :batch for one lane alone",
};

/** What `--pod` says; undefined when it was not given. @throws CliError `usage`, `no_pod` */
export async function podsOf(call: Call, client: Pilotlight): Promise<EndpointPods | undefined> {
  const named = call.texts("pod").map((text) => {
    const [name = "", lane, ...more] = text.split(":");
    const lanes = lane === undefined ? { success: true as const, data: Lane.options } : lanesOf(lane);
    if (name === "" || more.length > 0 || !lanes.success) {
      throw new CliError("usage", `--pod takes a pod, or one with :${Lane.options.join(" or :")}, not ${text}`);
    }
    return { name, lanes: [...lanes.data] };
  });
  if (named.length === 0) return undefined;
  const pods: EndpointPods = [];
  for (const { name, lanes } of named) {
    const { id } = await podNamed(client, name, call.interrupts.signal);
    const known = pods.find(({ pod_id }) => pod_id === id);
    if (known !== undefined) throw new CliError("usage", `--pod names ${name} twice`);
    pods.push({ pod_id: id, lanes });
  }
  return pods;
}

function lanesOf(text: string): { success: true; data: Lane[] } | { success: false } {
  const lane = Lane.safeParse(text);
  return lane.success ? { success: true, data: [lane.data] } : { success: false };
}
