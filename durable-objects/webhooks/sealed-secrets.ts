import type { WorkspaceId } from "#contract/ids";
import { refusal } from "#contract/problems";
import type { WebhookSecret } from "#contract/webhook";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { publicKeyText, secretBytes, secretHint, secretText } from "#durable-objects/outbox/signed-content";
import { seal, unseal } from "#durable-objects/secrets/seal";
import type { NewSecret } from "#durable-objects/webhooks/live-secrets";
import type { WebhookSource } from "#durable-objects/webhooks/rpc";
import { deploymentKey, type SigningKey, signedHeaders } from "#durable-objects/webhooks/signer";
import type { SecretRecord } from "#durable-objects/webhooks/webhook-store";

/** The deployment's hold on sealed secrets: they are opened here, to sign with and to show, and nowhere else. */
export class SealedSecrets {
  readonly #signingSecret: string;
  #key: Promise<SigningKey> | null = null;
  /** Unsealed secrets, by what was sealed. */
  readonly #unsealed = new Map<string, Uint8Array<ArrayBuffer>>();

  /** @param signingSecret the deployment's, from which the keys follow */
  constructor(signingSecret: string) {
    this.#signingSecret = signingSecret;
  }

  /** @param bytes 24 to 64, the secret itself */
  async sealed(workspaceId: WorkspaceId, source: WebhookSource, bytes: Uint8Array): Promise<NewSecret> {
    const text = secretText(bytes);
    const context = `${workspaceId} ${source}`;
    return { sealed: await seal(this.#signingSecret, "webhook secret", context, text), hint: secretHint(text) };
  }

  /** The headers of a try that is made now. @param secrets the live ones, the newest first */
  async headersNow(
    workspaceId: WorkspaceId,
    source: WebhookSource,
    message: { readonly id: string; readonly body: string },
    secrets: readonly SecretRecord[],
  ): Promise<Record<string, string>> {
    const opened: Uint8Array<ArrayBuffer>[] = [];
    for (const { sealed } of secrets) opened.push(await this.#unseal(workspaceId, source, sealed));
    return signedHeaders({ ...message, timestampS: Math.floor(Date.now() / 1_000) }, opened, await this.#signingKey());
  }

  /** As their owner sees them. @param secrets the live ones, the newest first; null: there is no such source */
  async shown(
    workspaceId: WorkspaceId,
    source: WebhookSource,
    secrets: readonly SecretRecord[] | null,
  ): Promise<Reply<{ secret: WebhookSecret }>> {
    const [newest, previous] = secrets ?? [];
    if (newest === undefined) return refusal("webhook_not_found", "There is no such webhook.");
    const text = async ({ sealed }: SecretRecord) => secretText(await this.#unseal(workspaceId, source, sealed));
    const expiresAt = previous?.expiresAt ?? null;
    return {
      ok: true,
      secret: {
        secret: await text(newest),
        previous: previous === undefined ? null : await text(previous),
        previous_expires_at: expiresAt === null ? null : new Date(expiresAt).toISOString(),
        public_key: publicKeyText((await this.#signingKey()).publicKey),
      },
    };
  }

  #signingKey(): Promise<SigningKey> {
    this.#key ??= deploymentKey(this.#signingSecret);
    return this.#key;
  }

  async #unseal(workspaceId: WorkspaceId, source: WebhookSource, sealed: string): Promise<Uint8Array<ArrayBuffer>> {
    const known = this.#unsealed.get(sealed);
    if (known !== undefined) return known;
    const context = `${workspaceId} ${source}`;
    const bytes = secretBytes(await unseal(this.#signingSecret, "webhook secret", context, sealed));
    this.#unsealed.set(sealed, bytes);
    return bytes;
  }
}
