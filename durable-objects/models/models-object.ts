import { DurableObject } from "cloudflare:workers";
import type { ModelName } from "#contract/api/models";
import type { ModelId, WorkspaceId } from "#contract/ids";
import type { Model, NewModel, NewModelImport } from "#contract/model";
import { parseModelSource } from "#contract/model-source";
import type { Reply } from "#durable-objects/endpoint/rpc";
import { type ImportJob, PartFetcher } from "#durable-objects/models/fetch-parts";
import { type ImportSettings, probeSource, type SourceFailure } from "#durable-objects/models/import-source";
import type { LitterRecord, ModelRecord, PartRecord } from "#durable-objects/models/model-store";
import { type ModelWork, workName } from "#durable-objects/models/model-work";
import { ModelsCore } from "#durable-objects/models/models-core";
import type { ModelRef } from "#durable-objects/models/models-state";
import type { ModelPage, ModelsRpc, PartTarget, StoredModel, StoredPart } from "#durable-objects/models/rpc";
import { verifyModel } from "#durable-objects/models/verify-model";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";
import type { Env } from "#worker/env";

/** One alarm begins new work for so long; the next one goes on, with a fresh allowance of processor time. */
const TURN_MS = 60_000;
/**
 * The longest that one piece of work may take. A stream that neither goes on nor breaks would hold its place for ever; an
 * alarm is ended by the platform after fifteen minutes.
 */
const WORK_MS_MAX = 780_000;
/** What was under way when the process died goes on after this. */
const WATCHDOG_MS = 30_000;
/** After a turn of the alarm that failed, the next one comes this much later. */
const ALARM_RETRY_MS = 10_000;
/** R2's words for parts that it does not have, or that do not fit; sending the same list again cannot help. */
const PARTS_LOST = /\((?:10011|10024|10025|10048)\)$/;
const HF_ENDPOINT = "https://huggingface.co";
const CIVITAI_ENDPOINT = "https://civitai.com";
const world = {
  now: () => Date.now(),
  randomBytes: (length: number) => crypto.getRandomValues(new Uint8Array(length)),
};

/**
 * A workspace's models. Decides nothing: the core does; here bytes are fetched, joined and read back. All of it runs inside
 * the alarm, which keeps the object alive, and each piece is small enough to be done again after a kill.
 */
export class ModelsObject extends DurableObject<Env> implements ModelsRpc {
  readonly #core: ModelsCore;
  readonly #settings: ImportSettings;
  readonly #fetcher: PartFetcher;
  /** Work under way, by its name. */
  readonly #running = new Map<string, Promise<void>>();
  /** Wakes the running turn; null when none runs. */
  #poke: (() => void) | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#settings = importSettings(env);
    this.#fetcher = new PartFetcher(env.STORE, this.#settings);
    this.#core = new ModelsCore(new ObjectStorageDatabase(ctx.storage), world);
    // What was under way died with the process, and its watchdog would let it wait.
    if (this.#core.isBusy()) void ctx.storage.setAlarm(Date.now() + 1);
  }

  async list(workspaceId: WorkspaceId, page: ModelPage): Promise<Reply<{ models: Model[]; next: ModelId | null }>> {
    return this.#core.list(workspaceId, page);
  }

  async get(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<{ model: Model }>> {
    return this.#core.get(workspaceId, name);
  }

  async stored(workspaceId: WorkspaceId, sha256: string): Promise<Reply<{ stored: StoredModel }>> {
    return this.#core.stored(workspaceId, sha256);
  }

  async begin(workspaceId: WorkspaceId, wanted: NewModel): Promise<Reply<{ model: Model; created: boolean }>> {
    const begun = this.#core.begin(workspaceId, wanted);
    if (!begun.ok) return begun;
    await this.#arm();
    if (begun.open !== null) await this.#open(begun.open);
    return this.#shown(workspaceId, begun.ref, begun.created);
  }

  async importFrom(
    workspaceId: WorkspaceId,
    wanted: NewModelImport,
  ): Promise<Reply<{ model: Model; created: boolean }>> {
    const begun = this.#core.importFrom(workspaceId, wanted);
    if (!begun.ok) return begun;
    await this.#arm();
    return this.#shown(workspaceId, begun.ref, begun.created);
  }

  async partTarget(workspaceId: WorkspaceId, name: ModelName, part: number): Promise<Reply<{ target: PartTarget }>> {
    return this.#core.partTarget(workspaceId, name, part);
  }

  async partStored(workspaceId: WorkspaceId, name: ModelName, part: StoredPart): Promise<Reply<object>> {
    return this.#core.partStored(workspaceId, name, part);
  }

  async complete(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<{ model: Model }>> {
    const planned = this.#core.complete(workspaceId, name);
    if (!planned.ok) return planned;
    if (planned.join !== null) await this.#join(planned.join);
    await this.#arm();
    return this.#core.get(workspaceId, planned.ref.id);
  }

  async remove(workspaceId: WorkspaceId, name: ModelName): Promise<Reply<object>> {
    const reply = this.#core.remove(workspaceId, name);
    await this.#arm();
    return reply;
  }

  /** Never throws: the platform gives up on an alarm that fails too often. */
  override async alarm(): Promise<void> {
    try {
      await this.ctx.storage.setAlarm(Date.now() + WATCHDOG_MS);
      await this.#work();
      await this.#arm();
    } catch (error) {
      console.error(
        JSON.stringify({ event: "models_alarm_failed", workspace: this.ctx.id.name, error: String(error) }),
      );
      await this.ctx.storage.setAlarm(Date.now() + ALARM_RETRY_MS);
    }
  }

  // --- turns -------------------------------------------------------------------------------------------------------

  /** Sets the alarm to when it is wanted, or wakes the turn that runs. */
  async #arm(): Promise<void> {
    if (this.#poke !== null) return this.#poke();
    const next = this.#core.nextDueAt();
    if (next === null) await this.ctx.storage.deleteAlarm();
    else await this.ctx.storage.setAlarm(Math.max(Date.now() + 1, next));
  }

  /** Does what is due until nothing is, or until its time is over and what it began has ended. */
  async #work(): Promise<void> {
    const end = Date.now() + TURN_MS;
    try {
      for (;;) {
        const poked = new Promise<void>((resolve) => {
          this.#poke = resolve;
        });
        if (Date.now() < end) for (const work of this.#core.nextWork(new Set(this.#running.keys()))) this.#begin(work);
        if (this.#running.size === 0) return;
        await Promise.race([...this.#running.values(), poked]);
      }
    } finally {
      this.#poke = null;
    }
  }

  #begin(work: ModelWork): void {
    const name = workName(work);
    const done = this.#perform(work).finally(() => this.#running.delete(name));
    this.#running.set(name, done);
  }

  async #perform(work: ModelWork): Promise<void> {
    try {
      await inTime(this.#do(work));
    } catch (error) {
      console.error(
        JSON.stringify({
          event: "model_work_failed",
          work: workName(work),
          workspace: this.ctx.id.name,
          error: String(error),
        }),
      );
      if (work.type === "sweep") this.#core.swept(work.litter, false);
      else this.#core.failed(work.model, "The store did not answer; the server's log has the cause.");
    }
  }

  async #do(work: ModelWork): Promise<void> {
    switch (work.type) {
      case "probe":
        return this.#probe(work.model, work.source);
      case "open":
        return this.#open(work.model);
      case "part": {
        const { part, model } = work;
        const fetched = await this.#fetcher.fetchPart(jobOf(model, work.source), part);
        if (!fetched.ok) return this.#notHad(model, fetched);
        return this.#core.partFetched(model, { number: part.number, etag: fetched.etag, size: part.size });
      }
      case "stream":
        return this.#stream(work.model, work.source);
      case "join":
        return this.#join(work);
      case "verify": {
        const check = await verifyModel(this.env.STORE, work.model);
        if (check.ok) this.#core.verified(work.model, check.sha256, check.format);
        else this.#core.refused(work.model, check.reason);
        return;
      }
      case "sweep":
        return this.#sweep(work.litter);
      default:
        throw new Error(`unhandled: ${JSON.stringify(work satisfies never)}`);
    }
  }

  async #probe(model: ModelRecord, source: string): Promise<void> {
    const { origin, sha256 } = jobOf(model, source);
    const probed = await probeSource(origin, sha256, this.#settings);
    if (probed.ok) this.#core.probed(model, probed.probed);
    else this.#notHad(model, probed);
  }

  async #open(model: ModelRecord): Promise<void> {
    const upload = await this.env.STORE.createMultipartUpload(model.key, {
      httpMetadata: { contentType: "application/octet-stream" },
    });
    this.#core.opened(model, model.key, upload.uploadId);
    await this.#arm();
  }

  async #stream(model: ModelRecord, source: string): Promise<void> {
    if (model.uploadId === null) return;
    this.#core.streamBegun(model);
    const onPart = (part: PartRecord) => this.#core.partFetched(model, part);
    const streamed = await this.#fetcher.fetchStream(jobOf(model, source), model.uploadId, onPart);
    if (streamed.ok) this.#core.streamed(model, streamed.size);
    else this.#notHad(model, streamed);
  }

  /** Makes one object of the parts; also when that was done by a call that was cut off before it could say so. */
  async #join({ model, parts }: Extract<ModelWork, { type: "join" }>): Promise<void> {
    const { key, uploadId } = model;
    if (uploadId === null) return;
    if ((await this.env.STORE.head(key)) === null) {
      const listed = parts.map(({ number, etag }) => ({ partNumber: number, etag }));
      try {
        await this.env.STORE.resumeMultipartUpload(key, uploadId).complete(listed);
      } catch (error) {
        if (!PARTS_LOST.test(error instanceof Error ? error.message : "")) throw error;
        // Another call may have joined them meanwhile.
        if ((await this.env.STORE.head(key)) === null) {
          return this.#core.refused(model, "The store has not all of its parts; begin it again.");
        }
      }
    }
    this.#core.joined(model);
  }

  async #sweep(litter: readonly LitterRecord[]): Promise<void> {
    const keys = litter.filter(({ uploadId }) => uploadId === null).map(({ key }) => key);
    for (const { key, uploadId } of litter) {
      // One that is over cannot be aborted, and need not be.
      if (uploadId !== null) await this.env.STORE.resumeMultipartUpload(key, uploadId).abort().catch(ignoreLost);
    }
    if (keys.length > 0) await this.env.STORE.delete(keys);
    this.#core.swept(litter, true);
  }

  #notHad(ref: ModelRef, { final, reason }: SourceFailure): void {
    if (final) this.#core.refused(ref, reason);
    else this.#core.failed(ref, reason);
  }

  #shown(workspaceId: WorkspaceId, ref: ModelRef, created: boolean): Reply<{ model: Model; created: boolean }> {
    const reply = this.#core.get(workspaceId, ref.id);
    return reply.ok ? { ...reply, created } : reply;
  }
}

function jobOf(model: ModelRecord, source: string): ImportJob {
  const origin = parseModelSource(source);
  if (origin === null) throw new Error(`${model.id} has a source of no form`);
  return { ref: model, origin, sha256: model.sha256, size: model.size, validator: model.validator, key: model.key };
}

function importSettings(env: Env): ImportSettings {
  return {
    rules: {
      allowLoopback: env.ALLOW_LOOPBACK_URLS === "true",
      ownHosts: env.PUBLIC_URL === "" ? [] : [new URL(env.PUBLIC_URL).host],
    },
    hfEndpoint: endpoint(env.HF_ENDPOINT, HF_ENDPOINT),
    civitaiEndpoint: endpoint(env.CIVITAI_ENDPOINT, CIVITAI_ENDPOINT),
    hfToken: env.HF_TOKEN ?? "",
    civitaiToken: env.CIVITAI_TOKEN ?? "",
  };
}

function endpoint(set: string | undefined, usual: string): string {
  return set === undefined || set === "" ? usual : set.replace(/\/+$/, "");
}

function ignoreLost(error: unknown): void {
  if (!PARTS_LOST.test(error instanceof Error ? error.message : "")) throw error;
}

/** @throws Error when the work has not ended within WORK_MS_MAX; what it still does changes nothing that counts */
async function inTime(work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no end within ${WORK_MS_MAX} ms`)), WORK_MS_MAX);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}
