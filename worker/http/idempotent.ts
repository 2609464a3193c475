/** Calls that may be sent twice and run once: what an Idempotency-Key means on routes that write to the catalog. */
import * as z from "zod";
import type { Route } from "#contract/api/route";
import type { RandomBytes } from "#contract/ids";
import { Problem } from "#contract/problems";
import { drawn } from "#durable-objects/secrets/drawn";
import { deriveBytes, seal, unseal } from "#durable-objects/secrets/seal";
import { sha256Hex } from "#worker/auth/digest";
import type { Principal } from "#worker/auth/principal";
import {
  type CallOrigin,
  claimCall,
  findCall,
  type KeyedCall,
  type KnownCall,
  keepAnswer,
  releaseCall,
  sweepCalls,
} from "#worker/catalog/idempotency-keys";
import type { Arrival, Call, RawBody } from "#worker/http/call";
import { randomBytes } from "#worker/http/fresh-id";
import { finished, type Handler, handle, type Mounted } from "#worker/http/router";
import { idempotencyKey, replayedHeader } from "#worker/jobs/idempotency-key";

/** A marked route: it has a caller, whose workspace the key belongs to. Its JSON body, if it has one, is the call's fingerprint. */
export type OnceRoute = Route & { readonly idempotent: "catalog"; readonly scope: string };

/** An answer as it is kept. */
const KeptAnswer = z.object({ headers: z.array(z.tuple([z.string(), z.string()])), body: z.string() });

/**
 * What a call makes things of. A call whose first runner died before its answer was kept is run again with the same: a
 * handler that takes names and secrets from here makes nothing twice, as long as it takes a thing of that name for its own.
 */
export interface Making {
  /** When the call first began, Unix ms. */
  readonly at: number;
  /** It has begun before: what it makes may be there. */
  readonly isRepeated: boolean;
  /** Chance that comes out alike each time the call is run. @throws RangeError when more than SEED_BYTES are taken */
  readonly randomBytes: RandomBytes;
}

/** A handler that makes something, once. */
export type OnceHandler<R extends Route> = (call: Call<R>, making: Making) => ReturnType<Handler<R>>;

/**
 * Joins a route with its handler as {@link handle} does. With an Idempotency-Key, the handler runs once: the same body
 * again gets the first answer, meanwhile 409, another body 422. Only a success is kept; after a failure the key is free.
 */
export function handleOnce<const R extends OnceRoute>(route: R, handler: OnceHandler<R>): Mounted {
  return handle(route, async (call) => {
    // The fields are those of this very route; its type cannot be followed through a conditional one.
    const known = call as unknown as Arrival & { principal: Principal; raw: RawBody | undefined };
    const keyed = keyedCall(known, known.principal);
    if (keyed === undefined) return handler(call, { at: Date.now(), isRepeated: false, randomBytes });
    // Without a body, the address is all that a call says.
    const said = known.raw?.bytes ?? keyed.operation;
    const run = async (making: Making) => finished(route, await handler(call, making));
    return runOnce(known, keyed, await sha256Hex(said), run);
  });
}

/**
 * The name of a call that has an Idempotency-Key; undefined without one.
 * @throws Problem invalid_idempotency_key
 */
export function keyedCall({ request, url }: Arrival, { workspaceId }: Principal): KeyedCall | undefined {
  const key = idempotencyKey(request.headers.get("idempotency-key") ?? undefined);
  return key === undefined ? undefined : { workspaceId, operation: `${request.method} ${url.pathname}`, key };
}

/**
 * Runs a call unless it has run before, for routes whose body is not JSON.
 * @param fingerprint SHA-256 of what was sent, hexadecimal
 * @throws Problem request_in_flight, idempotency_key_reused, and what `run` throws
 */
export async function runOnce(
  { env, requestId, waitUntil }: Arrival,
  keyed: KeyedCall,
  fingerprint: string,
  run: (making: Making) => Promise<Response>,
): Promise<Response> {
  const claim = crypto.randomUUID();
  const now = Date.now();
  const fresh = freshOrigin(now);
  const origin = await claimCall(env.CATALOG, keyed, fingerprint, claim, fresh, now);
  if (origin === undefined) {
    return replayed(env.SIGNING_SECRET, keyed, fingerprint, await findCall(env.CATALOG, keyed));
  }
  waitUntil(sweepCalls(env.CATALOG, now));
  // A row that could not be removed is taken over after a minute; the failure itself is what the caller must hear.
  const release = () => releaseCall(env.CATALOG, keyed, claim).catch(() => undefined);
  let answer: Response;
  try {
    answer = await run(await makingOf(env.SIGNING_SECRET, origin, origin.seed !== fresh.seed));
  } catch (error) {
    await release();
    throw error;
  }
  if (!answer.ok) {
    await release();
    return answer;
  }
  try {
    await keepAnswer(env.CATALOG, keyed, claim, answer.status, await sealedAnswer(env.SIGNING_SECRET, keyed, answer));
  } catch (error) {
    // The thing is made: whoever asked must have its answer, though a call sent again will not get it.
    const cause = error instanceof Error ? error.name : typeof error;
    console.error(JSON.stringify({ event: "idempotent_answer_lost", requestId, operation: keyed.operation, cause }));
  }
  return answer;
}

/** Runs something while nobody else does so under the same key. */
export type Alone = <Result>(run: () => Promise<Result>) => Promise<Result>;

/**
 * For the slow part of a call whose answer is kept elsewhere: the same call sent again meanwhile hears that the first one
 * runs, and does not do the work beside it. Nothing is kept afterwards.
 * @throws Problem request_in_flight, idempotency_key_reused
 */
export function aloneUnder({ env }: Arrival, keyed: KeyedCall, fingerprint: string): Alone {
  return async (run) => {
    const claim = crypto.randomUUID();
    const now = Date.now();
    if ((await claimCall(env.CATALOG, keyed, fingerprint, claim, freshOrigin(now), now)) === undefined) {
      const known = await findCall(env.CATALOG, keyed);
      throw known === undefined || known.fingerprint === fingerprint ? stillRuns() : reused();
    }
    try {
      return await run();
    } finally {
      // A row that could not be removed is taken over after a minute.
      await releaseCall(env.CATALOG, keyed, claim).catch(() => undefined);
    }
  };
}

/** More than any call takes: an id has 17, a secret at most 32. */
const SEED_BYTES = 256;

function freshOrigin(now: number): CallOrigin {
  return { seed: crypto.randomUUID(), begunAt: now };
}

/** Derived, not stored: a reader of the catalog learns no secret from a call's row. */
async function makingOf(secret: string, { seed, begunAt }: CallOrigin, isRepeated: boolean): Promise<Making> {
  const bytes = await deriveBytes(secret, `call ${seed}`, SEED_BYTES);
  return { at: begunAt, isRepeated, randomBytes: drawn(bytes) };
}

async function sealedAnswer(secret: string, call: KeyedCall, answer: Response): Promise<string> {
  const kept: z.infer<typeof KeptAnswer> = { headers: [...answer.headers], body: await answer.clone().text() };
  return seal(secret, "idempotent answer", contextOf(call), JSON.stringify(kept));
}

/** The first answer again, or the refusal that says why there is none. */
async function replayed(
  secret: string,
  call: KeyedCall,
  fingerprint: string,
  known: KnownCall | undefined,
): Promise<Response> {
  if (known !== undefined && known.fingerprint !== fingerprint) throw reused();
  // A row that is gone belonged to a call that has just failed: this one may be sent again like one that still runs.
  if (known?.answered === undefined) throw stillRuns();
  const { status, sealed } = known.answered;
  let text: string;
  try {
    text = await unseal(secret, "idempotent answer", contextOf(call), sealed);
  } catch (cause) {
    throw new Problem(
      "idempotency_key_reused",
      "The request succeeded before, and its answer can no longer be read, because the service's secret has changed.",
      { cause },
    );
  }
  const { headers, body } = KeptAnswer.parse(JSON.parse(text));
  return new Response(body === "" ? null : body, {
    status,
    headers: [...headers, ...Object.entries(replayedHeader(true))],
  });
}

function reused(): Problem {
  return new Problem(
    "idempotency_key_reused",
    "The key was used with another body; a new request needs a key of its own.",
  );
}

function stillRuns(): Problem {
  return new Problem("request_in_flight", "The first request with this key has not ended; ask again shortly.", {
    retryAfterS: 1,
  });
}

function contextOf({ workspaceId, operation, key }: KeyedCall): string {
  return `${workspaceId} ${operation} ${key}`;
}
