/** Reaches the object that keeps a thing. Refusals arrive as data and leave here as Problems. */
import { type OwnerKey, ownerKey, type PodId, type WorkspaceId } from "#contract/ids";
import { Problem, type Refusal } from "#contract/problems";
import type { EndpointRpc, Reply } from "#durable-objects/endpoint/rpc";
import type { ModelsRpc } from "#durable-objects/models/rpc";
import type { PodRpc } from "#durable-objects/pod/rpc";
import type { WebhooksRpc } from "#durable-objects/webhooks/rpc";
import type { Env } from "#worker/env";

/** Whether a call that may have been applied can be sent again. */
export type Repeatable = "repeatable" | "once";

/** Calls the EndpointObject of a key; a repeatable call that a restart cut off is sent once more, to a new stub. */
export async function askEndpoint<T extends object>(
  env: Env,
  key: OwnerKey,
  repeatable: Repeatable,
  ask: (endpoint: EndpointRpc) => Promise<Reply<T>>,
): Promise<T> {
  // The namespace's type describes the class over RPC; EndpointRpc is what that class promises.
  const attempt = () => ask(env.ENDPOINTS.getByName(key) as unknown as EndpointRpc);
  return accepted(await withRetry(attempt, repeatable));
}

/** Calls a PodObject. */
export async function askPod<T extends object>(
  env: Env,
  id: PodId,
  repeatable: Repeatable,
  ask: (pod: PodRpc) => Promise<Reply<T>>,
): Promise<T> {
  const attempt = () => ask(env.PODS.getByName(ownerKey(id)) as unknown as PodRpc);
  return accepted(await withRetry(attempt, repeatable));
}

/** Calls a workspace's WebhooksObject. */
export async function askWebhooks<T extends object>(
  env: Env,
  workspaceId: WorkspaceId,
  repeatable: Repeatable,
  ask: (webhooks: WebhooksRpc) => Promise<Reply<T>>,
): Promise<T> {
  const attempt = () => ask(env.WEBHOOKS.getByName(workspaceId) as unknown as WebhooksRpc);
  return accepted(await withRetry(attempt, repeatable));
}

/** Calls a workspace's ModelsObject. */
export async function askModels<T extends object>(
  env: Env,
  workspaceId: WorkspaceId,
  repeatable: Repeatable,
  ask: (models: ModelsRpc) => Promise<Reply<T>>,
): Promise<T> {
  const attempt = () => ask(env.MODELS.getByName(workspaceId) as unknown as ModelsRpc);
  return accepted(await withRetry(attempt, repeatable));
}

/** The value of a reply. @throws Problem with the refusal's code */
export function accepted<T extends object>(reply: Reply<T>): T {
  if (!reply.ok) throw problemOf(reply);
  return reply;
}

export function problemOf(refusal: Refusal): Problem {
  return new Problem(refusal.code, refusal.detail, { errors: refusal.errors, retryAfterS: refusal.retryAfterS });
}

async function withRetry<T>(attempt: () => Promise<T>, repeatable: Repeatable): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (repeatable === "once" || !isRetryable(error)) throw error;
    return await attempt();
  }
}

/** An overloaded object must not be asked again: that is what overloads it. */
function isRetryable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
  return retryable === true && overloaded !== true;
}
