/** What a handler gets: the request, read and checked as its route says. */
import type * as z from "zod";
import type { Route } from "#contract/api/route";
import type { JsonObject } from "#contract/exact-json";
import type { Principal } from "#worker/auth/principal";
import type { Env } from "#worker/env";

/** Hono's types: the bindings. */
export interface AppEnv {
  Bindings: Env;
}

/** A JSON body beside the exact document and the bytes it was read from. */
export interface RawBody {
  readonly bytes: Uint8Array;
  /** The document as parsed: no field dropped, whole numbers exact. */
  readonly document: JsonObject;
}

/** What every handler has, whoever calls. */
export interface Arrival {
  readonly env: Env;
  readonly request: Request;
  readonly url: URL;
  readonly requestId: string;
  /** Lets work go on after the answer. */
  readonly waitUntil: (work: Promise<unknown>) => void;
}

type Parsed<Schema> = Schema extends z.ZodType ? z.infer<Schema> : undefined;

export interface Call<R extends Route = Route> extends Arrival {
  /** Null only where the route's scope is null. */
  readonly principal: R["scope"] extends null ? null : Principal;
  readonly params: Parsed<R["params"]>;
  readonly query: Parsed<R["query"]>;
  readonly headers: Parsed<R["headers"]>;
  readonly body: Parsed<R["body"]>;
  /** Only on routes with a JSON body. */
  readonly raw: R["body"] extends z.ZodType ? RawBody : undefined;
}
