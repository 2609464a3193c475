/**
 * The floor: the least a durable queue can do in workerd, in the best structure known. A Worker, one SQLite object and
 * R2: jobs that arrive in one tick share a commit, a waiting poll is answered in the turn of the submit, and the answer
 * to a complete carries the next lease. No keys, no checks, no retries, nobody to look after leases: nothing to use, only
 * something to be compared with. `BareQueue` is what one would write first: one insert, one commit.
 */
import { DurableObject } from "cloudflare:workers";

interface Env {
  readonly QUEUE: DurableObjectNamespace<FloorQueue>;
  readonly BARE: DurableObjectNamespace<BareQueue>;
  readonly STORE: R2Bucket;
}

interface Lease {
  readonly id: number;
  readonly inputs: string;
}

const JOBS = `
  CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, inputs TEXT NOT NULL, replica TEXT);
  CREATE INDEX IF NOT EXISTS waiting ON jobs (id) WHERE state = 0`;

export class FloorQueue extends DurableObject<Env> {
  #arrived: { work: () => unknown; resolve: (value: never) => void }[] = [];
  /** Polls that wait, by replica. */
  readonly #polls = new Map<string, (lease: Lease) => void>();
  /** Submits that wait for their job's end, by job. */
  readonly #ends = new Map<number, () => void>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(JOBS);
  }

  submit(inputs: string): Promise<number> {
    return this.#turn(() => {
      const id = Number(
        this.ctx.storage.sql.exec("INSERT INTO jobs (state, inputs) VALUES (0, ?) RETURNING id", inputs).one().id,
      );
      const [waiting] = this.#polls;
      if (waiting !== undefined) {
        const [replica, answer] = waiting;
        this.#polls.delete(replica);
        const lease = this.#take(replica);
        if (lease !== null) answer(lease);
      }
      return id;
    });
  }

  async submitAndWait(inputs: string): Promise<number> {
    const id = await this.submit(inputs);
    await new Promise<void>((resolve) => this.#ends.set(id, resolve));
    return id;
  }

  poll(replica: string): Promise<Lease> {
    return new Promise((resolve) => {
      // Within the turn: a submit of the same tick must find this poll or leave its job to it.
      void this.#turn(() => {
        const lease = this.#take(replica);
        if (lease === null) this.#polls.set(replica, resolve);
        else resolve(lease);
      });
    });
  }

  async complete(id: number, replica: string, more: boolean): Promise<Lease | null> {
    const next = await this.#turn(() => {
      this.ctx.storage.sql.exec("UPDATE jobs SET state = 2 WHERE id = ? AND replica = ? AND state = 1", id, replica);
      return more ? this.#take(replica) : null;
    });
    this.#ends.get(id)?.();
    this.#ends.delete(id);
    return next;
  }

  #take(replica: string): Lease | null {
    const [row] = this.ctx.storage.sql
      .exec(
        `UPDATE jobs SET state = 1, replica = ?
         WHERE id = (SELECT id FROM jobs INDEXED BY waiting WHERE state = 0 ORDER BY id LIMIT 1) RETURNING id, inputs`,
        replica,
      )
      .toArray();
    return row === undefined ? null : { id: Number(row.id), inputs: String(row.inputs) };
  }

  /**
   * Runs the work together with all that arrives in this tick, in one commit. An idle storage's `sync` is the shortest
   * way round workerd's event loop: a timer of 0 ms costs more than a commit, a microtask lets nothing else in.
   */
  #turn<T>(work: () => T): Promise<T> {
    return new Promise((resolve) => {
      if (this.#arrived.push({ work, resolve }) === 1) void this.ctx.storage.sync().then(() => this.#commit());
    });
  }

  #commit(): void {
    const turns = this.#arrived;
    this.#arrived = [];
    const results = this.ctx.storage.transactionSync(() => turns.map(({ work }) => work()));
    for (const [index, { resolve }] of turns.entries()) resolve(results[index] as never);
  }
}

export class BareQueue extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(JOBS);
  }

  submit(inputs: string): number {
    const row = this.ctx.storage.sql.exec("INSERT INTO jobs (state, inputs) VALUES (0, ?) RETURNING id", inputs).one();
    return Number(row.id);
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, kind = "", name = "", replica = "", more] = new URL(request.url).pathname.split("/");
    const queue = env.QUEUE.getByName("one");
    switch (`${request.method} ${kind}`) {
      case "POST bare":
        return Response.json({ id: await env.BARE.getByName("one").submit(await request.text()) });
      case "POST jobs":
        return Response.json({ id: await queue.submit(await request.text()) });
      case "POST calls": {
        // As soon as the job is complete its picture is the answer.
        const id = await queue.submitAndWait(await request.text());
        return new Response((await env.STORE.get(String(id)))?.body ?? null);
      }
      case "POST replicas":
        return Response.json(await queue.poll(name));
      case "POST leases":
        return Response.json(await queue.complete(Number(name), replica, more !== undefined));
      case "PUT outputs":
        await env.STORE.put(name, await request.arrayBuffer());
        return new Response(null, { status: 204 });
      default:
        return new Response(null, { status: 404 });
    }
  },
};
