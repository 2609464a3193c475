/** The run's webhooks: one subscription for the whole workspace, and one address that single jobs name. */
import { createWebhook, getWebhookKeys, getWebhookSecret } from "#contract/api/webhooks";
import type { Destination } from "./evidence.ts";

export const SUBSCRIPTION_PATH = "/workspace";
export const JOB_PATH = "/jobs";

export interface WebhookSetup {
  readonly subscription: Destination;
  /** Of the jobs that name a webhook; `jobs` is filled in by the caller. */
  readonly single: Destination;
  /** `whpk_…` or plain base64. */
  readonly publicKey: string;
}

/** Subscribes the receiver and reads the secrets. @throws Error with the server's answer */
export async function setUpWebhooks(baseUrl: string, token: string, receiverUrl: string): Promise<WebhookSetup> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const events = ["job.succeeded", "job.failed", "job.canceled", "job.expired"];
  const created = createWebhook.returns.parse(
    await answer(
      await fetch(`${baseUrl}${createWebhook.path}`, {
        method: "POST",
        headers,
        body: JSON.stringify({ url: `${receiverUrl}${SUBSCRIPTION_PATH}`, events }),
      }),
    ),
  );
  const own = created.secret;
  if (own === undefined) throw new Error("the new webhook came without its secret");
  const shared = getWebhookSecret.returns.parse(
    await answer(await fetch(`${baseUrl}${getWebhookSecret.path.replace("{webhook}", "default")}`, { headers })),
  );
  const { keys } = getWebhookKeys.returns.parse(await answer(await fetch(`${baseUrl}${getWebhookKeys.path}`)));
  const [key] = keys;
  if (key === undefined) throw new Error("no key is published");
  return {
    subscription: { path: SUBSCRIPTION_PATH, jobs: null, secret: own },
    single: { path: JOB_PATH, jobs: [], secret: shared.secret },
    publicKey: key.whpk,
  };
}

async function answer(response: Response): Promise<unknown> {
  if (!response.ok) throw new Error(`${response.url} answers ${response.status}: ${await response.text()}`);
  return await response.json();
}
