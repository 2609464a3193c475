/** A route as a value: handler, OpenAPI document, reference page and client types are all read from it. */
import type * as z from "zod";
import type { Scope } from "#contract/access";
import type { ProblemCode } from "#contract/problems";

export interface Route {
  /** The name in clients and in OpenAPI: `createJob`. */
  readonly id: string;
  readonly tag: string;
  readonly method: "get" | "post" | "put" | "patch" | "delete";
  /** OpenAPI form: `/v1/jobs/{job}`. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  /** The scope a key needs; null: anyone may call. */
  readonly scope: Scope | null;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  /** A JSON body. */
  readonly body?: z.ZodType;
  /** A request without a body, and without its content type, counts as one with `{}`. */
  readonly bodyOptional?: true;
  /** Most bytes of the body; JSON_BODY_BYTES_MAX when left out. */
  readonly bodyBytesMax?: number;
  /** Content types of a body that is not JSON; such a body is streamed, not parsed. */
  readonly bodyTypes?: readonly string[];
  /** `catalog`: a repeated request with the same Idempotency-Key gets the first answer from the catalog; see `handleOnce`. */
  readonly idempotent?: "catalog";
  readonly status: 101 | 200 | 201 | 202 | 204;
  /** The JSON answer. */
  readonly returns?: z.ZodType;
  /** Content types of an answer that is not JSON. */
  readonly returnTypes?: readonly string[];
  /** Of an answer that is a stream of lines: what each line holds. */
  readonly returnLines?: z.ZodType;
  /** Answers with other success codes: `Prefer: wait` gives 200 instead of 202. */
  readonly alsoReturns?: Readonly<Record<number, string>>;
  /** Content types that an answer with this status has instead of JSON where the caller asks for them. */
  readonly alsoReturnTypes?: Readonly<Record<number, readonly string[]>>;
  /** Problems of this route beyond those every route has (unauthenticated, missing_scope, malformed_json …). */
  readonly problems: readonly ProblemCode[];
}

/** Keeps the literal types of a route. */
export function route<const R extends Route>(definition: R): R {
  return definition;
}
