/** A real EndpointObject with two real replicas, and everything one may do to it from outside. */
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import type { ReplicaPollAnswer } from "#contract/agent";
import { type JobId, ownerKey, type ReplicaId } from "#contract/ids";
import type { JobWhy } from "#contract/job";
import type { QueueEntry, QueueSummary } from "#contract/queue";
import type { EndpointRpc, JobSnapshot, NodeIdentity, Reply, StoredEvent } from "#durable-objects/endpoint/rpc";
import { ATTEMPTS_MAX, type ModelLease, must, QUEUE_DEPTH_MAX } from "./command-model.ts";
import { must as given, Objects } from "./objects.ts";

const PAGE = 100;

/** A replica and the node it is on. */
export interface Place {
  readonly id: ReplicaId;
  readonly node: NodeIdentity;
}

/** A poll and the answer it is to get; null when the object died before it came. */
export interface OpenPoll {
  readonly place: Place;
  readonly pollId: string;
  readonly listed: readonly ModelLease[];
  readonly reply: Promise<Reply<{ answer: ReplicaPollAnswer }> | null>;
}

/** All that the endpoint shows, seen in one moment. */
export interface Look {
  readonly jobs: ReadonlyMap<JobId, { shown: JobSnapshot; events: readonly StoredEvent[]; why: JobWhy }>;
  readonly queue: readonly QueueEntry[];
  readonly dead: readonly JobId[];
  readonly summary: QueueSummary;
}

export class RealEndpoint {
  readonly objects: Objects;
  readonly places: readonly Place[];
  readonly openedAt = Date.now();
  readonly #standIn: (endpoint: EndpointRpc) => EndpointRpc;
  #stub;
  #names = 0;

  private constructor(objects: Objects, places: readonly Place[], standIn: (endpoint: EndpointRpc) => EndpointRpc) {
    this.objects = objects;
    this.places = places;
    this.#standIn = standIn;
    this.#stub = objects.endpointStub;
    this.endpoint = standIn(objects.endpoint);
  }

  endpoint: EndpointRpc;

  /** @param standIn what the messages go through on their way, to show that a wrong endpoint is noticed */
  static async open(standIn: (endpoint: EndpointRpc) => EndpointRpc = (endpoint) => endpoint): Promise<RealEndpoint> {
    const replicas = { min_replicas: 2, max_replicas: 2 };
    const objects = await Objects.open({ ...replicas, attempts_max: ATTEMPTS_MAX, queue_depth_max: QUEUE_DEPTH_MAX });
    const places = await Promise.all(
      [0, 1].map(async () => {
        const node = await objects.join();
        const [placed] = (await objects.beat(node, [], 10_000)).replicas;
        must(placed !== undefined, "the pod has placed nothing");
        return { id: placed.replica_id, node };
      }),
    );
    const real = new RealEndpoint(objects, places, standIn);
    // From its first poll on a replica is ready for work.
    await Promise.all(places.map((place) => real.poll(place, real.name("poll"), [], 0).reply));
    return real;
  }

  /** A name that nobody has had. */
  name(of: string): string {
    this.#names += 1;
    return `${of}-${String(this.#names).padStart(8, "0")}`;
  }

  poll(place: Place, pollId: string, listed: readonly ModelLease[], waitMs: number): OpenPoll {
    const leases = listed.map(({ lease: { lease_id, token } }) => ({ lease_id, token }));
    const reply = this.endpoint.pollReplica(place.node, place.id, { poll_id: pollId, leases, wait_ms: waitMs });
    return { place, pollId, listed, reply: reply.catch(() => null) };
  }

  /** Every call sent before this one has been taken once it is answered. */
  async barrier(): Promise<void> {
    for (const { id } of this.places.slice(0, 1)) await this.endpoint.abandonPoll(id, "nobodys-poll");
  }

  /** Everything within one turn of the object, so that nothing can happen in between. */
  look(): Promise<Look> {
    const { workspaceId } = this.objects;
    return runInDurableObject(this.#stub, async (instance) => {
      const endpoint = instance as unknown as EndpointRpc;
      const page = { limit: PAGE, bytesMax: 10_000_000 };
      const { jobs } = await given(endpoint.listJobs(workspaceId, page));
      const seen: [JobId, { shown: JobSnapshot; events: readonly StoredEvent[]; why: JobWhy }][] = [];
      for (const shown of jobs) {
        const { events } = await given(endpoint.watchJob(workspaceId, shown.id, { seq: 0, version: 0 }, 0));
        const { why } = await given(endpoint.whyJob(workspaceId, shown.id));
        seen.push([shown.id, { shown, events, why }]);
      }
      const { entries } = await given(endpoint.listQueue(workspaceId, { limit: PAGE }));
      const dead = await given(endpoint.listDead(workspaceId, page));
      const { summary } = await given(endpoint.queueSummary(workspaceId));
      return { jobs: new Map(seen), queue: entries, dead: dead.jobs.map(({ id }) => id), summary };
    });
  }

  /** The platform's alarm, if one is set, rings now. */
  async ring(): Promise<void> {
    await runDurableObjectAlarm(this.#stub);
  }

  /** All jobs between two tries have waited long enough: nobody need wait for it. The object must be idle. */
  async endBackoffs(): Promise<void> {
    await runInDurableObject(this.#stub, (_, { storage }) => {
      storage.sql.exec("UPDATE jobs SET available_at = ? WHERE available_at IS NOT NULL", Date.now() - 1);
    });
    await this.evict();
    await this.endpoint.queueSummary(this.objects.workspaceId);
    await this.ring();
  }

  /** The object is thrown out of memory once its calls have ended. */
  async evict(): Promise<void> {
    await evictDurableObject(this.#stub);
  }

  /** The object dies at once, and every call in it. */
  async crash(): Promise<void> {
    const died = await runInDurableObject(this.#stub, (_, state) => state.abort("a crash of the test")).then(
      () => false,
      () => true,
    );
    must(died, "the object did not die");
    this.#stub = env.ENDPOINTS.getByName(ownerKey(this.objects.endpointId));
    this.endpoint = this.#standIn(this.#stub as unknown as EndpointRpc);
  }
}
