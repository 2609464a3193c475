/** Mounts routes, which are data, on Hono: reads each request as its route says, then calls the handler. */
import type { Context, Hono } from "hono";
import type * as z from "zod";
import type { Route } from "#contract/api/route";
import { JSON_BODY_BYTES_MAX } from "#contract/limits";
import { Problem, type ProblemCode } from "#contract/problems";
import { authenticate } from "#worker/auth/api-key";
import { requireScope } from "#worker/auth/principal";
import { emptyAnswer, jsonAnswer, problemAnswer } from "#worker/http/answer";
import type { AppEnv, Arrival, Call } from "#worker/http/call";
import { errorAnswer } from "#worker/http/error-handler";
import { fieldErrors } from "#worker/http/field-errors";
import { freshRequestId } from "#worker/http/fresh-id";
import { checked, readJsonBody, summary } from "#worker/http/json-body";
import { secured } from "#worker/http/security-headers";

/** One address and method with what answers it. */
export interface Mounted {
  readonly method: string;
  /** OpenAPI form: `/v1/jobs/{job}`. */
  readonly path: string;
  readonly answer: (arrival: Arrival, rawParams: Record<string, string>) => Promise<Response>;
}

/** A handler answers with a Response, or with the JSON value of the route's own status. */
export type Handler<R extends Route> = (call: Call<R>) => Promise<Response | object | undefined>;

/** Joins a route of the public API with its handler: authenticates, checks the scope, reads, answers. */
export function handle<const R extends Route>(route: R, handler: Handler<R>): Mounted {
  return {
    method: route.method,
    path: route.path,
    answer: async (arrival, rawParams) => {
      const principal = route.scope === null ? null : await authenticate(arrival.env, arrival.request);
      if (principal !== null && route.scope !== null) requireScope(principal, route.scope);
      const { params, query, headers, body, raw } = await readCall(route, arrival, rawParams);
      // One by one: spreading the second of two objects leaves V8's quick ways.
      const { env, request, url, requestId, waitUntil } = arrival;
      const call = { env, request, url, requestId, waitUntil, principal, params, query, headers, body, raw };
      // The fields were read by the schemas of this very route; its type cannot be followed through a union of routes.
      return finished(route, await handler(call as unknown as Call<R>));
    },
  };
}

/** Reads what a route declares. Agent routes share this; they differ in who may call. */
export async function readCall(
  route: Route,
  arrival: Arrival,
  rawParams: Record<string, string>,
): Promise<{ params: unknown; query: unknown; headers: unknown; body: unknown; raw: unknown }> {
  const params = route.params === undefined ? undefined : parsedParams(route.params, rawParams);
  // Most calls have no query, and looking for one takes as long as checking the body.
  const query =
    route.query === undefined && arrival.url.search === "" ? undefined : parsedQuery(route.query, arrival.url);
  const headers = route.headers === undefined ? undefined : parsedHeaders(route.headers, arrival.request);
  if (route.bodyTypes !== undefined) requireBodyType(arrival.request, route.bodyTypes);
  const { body, raw } =
    route.body === undefined
      ? { body: undefined, raw: undefined }
      : route.bodyOptional === true && isEmpty(arrival.request)
        ? { body: checked({}, route.body), raw: { bytes: new Uint8Array(), document: {} } }
        : await readJsonBody(arrival.request, route.body, route.bodyBytesMax ?? JSON_BODY_BYTES_MAX);
  return { params, query, headers, body, raw };
}

/** Nothing is sent, and nothing is said about it. A chunked body has no length, and is one. */
function isEmpty({ headers, body }: Request): boolean {
  const isSent = body !== null && headers.get("content-length") !== "0";
  return headers.get("content-type") === null && !isSent;
}

/** The answer of a handler, with the route's status where it gave a value. */
export function finished(route: Route, result: Response | object | undefined): Response {
  if (result instanceof Response) return result;
  return result === undefined ? emptyAnswer() : jsonAnswer(route.status, result);
}

/**
 * The addresses we have need no percent-encoding, no empty segment and no parameter: everything else is a trick or a
 * mistake, and no part behind this one has to decode it.
 */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9._~-]+)*\/?$/;

/**
 * Puts everything on the app; another method at a known address is 405, every other address 404. Each address and method
 * has one handler and no middleware beside it: with two, Hono builds a chain for every request, which costs more than all
 * that the chain does.
 */
export function mount(app: Hono<AppEnv>, mounted: readonly Mounted[]): void {
  const methodsAt = new Map<string, string[]>();
  for (const { method, path, answer } of mounted) {
    app.on(method.toUpperCase(), honoPath(path), (context) =>
      answered(context, (arrival) => answer(arrival, context.req.param())),
    );
    methodsAt.set(path, [...(methodsAt.get(path) ?? []), method.toUpperCase()]);
  }
  const known = [...methodsAt].map(([path, methods]) => ({ pattern: patternOf(path), methods }));
  app.notFound((context) =>
    answered(context, async ({ url, request: { method }, requestId }) => {
      const methods = known.find(({ pattern }) => pattern.test(url.pathname))?.methods;
      // An address with dot segments is read as another one here, but never there: it leads nowhere.
      if (methods === undefined || methods.includes(method === "HEAD" ? "GET" : method))
        throw new Problem("not_found", NOTHING_HERE);
      const allow = (methods.includes("GET") ? [...methods, "HEAD"] : methods).join(", ");
      return problemAnswer("method_not_allowed", `This address takes ${allow}.`, requestId, { headers: { allow } });
    }),
  );
}

const NOTHING_HERE = "There is nothing at this address.";

const ADDRESSES_KEPT = 1_000;
/** Of those that are kept, characters: ours are shorter. */
const ADDRESS_LENGTH_MAX = 200;
/** Most requests go to few addresses, and reading one takes as long as the checks of its body. Nobody changes them. */
const addresses = new Map<string, Address>();

interface Address {
  readonly url: URL;
  /** As PLAIN_PATH has it. */
  readonly isPlain: boolean;
}

/** @returns null for what is no address */
function addressOf(text: string): Address | null {
  const known = addresses.get(text);
  if (known !== undefined) return known;
  const url = URL.parse(text);
  if (url === null) return null;
  const address = { url, isPlain: PLAIN_PATH.test(url.pathname) };
  // What comes with a query hardly comes again, and may open something.
  if (url.search !== "" || text.length > ADDRESS_LENGTH_MAX) return address;
  if (addresses.size >= ADDRESSES_KEPT) addresses.clear();
  addresses.set(text, address);
  return address;
}

/** What every request passes: a name, the checks that hold everywhere, the one error handler, the security headers. */
async function answered(context: Context<AppEnv>, answer: (arrival: Arrival) => Promise<Response>): Promise<Response> {
  const request = context.req.raw;
  const requestId = freshRequestId();
  const address = addressOf(request.url);
  if (address === null) {
    // The address is made of the Host header, which may hold anything where no proxy stands before us.
    return secured(problemAnswer("malformed_request", "The Host header names no host.", requestId), requestId, null);
  }
  const { url, isPlain } = address;
  try {
    if (!isPlain) throw new Problem("not_found", NOTHING_HERE);
    if (request.headers.has("content-encoding")) {
      // Unpacking what strangers send is how a kilobyte becomes a gigabyte.
      throw new Problem("unsupported_media_type", "Send the body without Content-Encoding.");
    }
    const waitUntil = (work: Promise<unknown>): void => context.executionCtx.waitUntil(work);
    return secured(await answer({ env: context.env, request, url, requestId, waitUntil }), requestId, url);
  } catch (error) {
    return secured(errorAnswer(error, requestId, request.method, url.pathname), requestId, url);
  }
}

/** A path as an expression over whole addresses. */
function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{[a-z_]+\}/g, "[^/]+")}$`);
}

function honoPath(path: string): string {
  return path.replaceAll(/\{([a-z_]+)\}/g, ":$1");
}

/** What a malformed name in an address is: the same as an unknown one, so that guesses learn nothing. */
const UNKNOWN: Readonly<Record<string, ProblemCode>> = {
  endpoint: "endpoint_not_found",
  number: "release_not_found",
  job: "job_not_found",
  name: "output_not_found",
  file: "file_not_found",
  key: "key_not_found",
  pod: "pod_not_found",
  node: "node_not_found",
  token: "join_token_not_found",
  gpu_type: "gpu_type_not_found",
  replica: "replica_not_found",
  batch: "batch_not_found",
  operation: "operation_not_found",
  webhook: "webhook_not_found",
  delivery: "delivery_not_found",
  model: "model_not_found",
};

export const UNKNOWN_DETAIL = "There is nothing of that name in your workspace.";

const PARAMS_KEPT = 1_000;
/** What the last addresses named, by their parts, which hold no slash: an endpoint's name is checked once, not for each job. */
const knownParams = new WeakMap<z.ZodObject, Map<string, unknown>>();

function parsedParams(schema: z.ZodObject, rawParams: Record<string, string>): unknown {
  const known = knownParams.get(schema) ?? new Map<string, unknown>();
  const parts = Object.values(rawParams).join("/");
  const before = known.get(parts);
  if (before !== undefined) return before;
  const result = schema.safeParse(rawParams);
  if (result.success) {
    if (known.size >= PARAMS_KEPT) known.clear();
    // All calls to that address share it.
    known.set(parts, Object.freeze(result.data));
    knownParams.set(schema, known);
    return result.data;
  }
  const wrong = String(result.error.issues[0]?.path[0] ?? "");
  throw new Problem(UNKNOWN[wrong] ?? "not_found", UNKNOWN_DETAIL);
}

function parsedQuery(schema: z.ZodObject | undefined, url: URL): unknown {
  const values: Record<string, string> = Object.create(null);
  for (const [name, value] of url.searchParams) {
    if (name in values) {
      const errors = [{ path: `/${name}`, reason: "Is given more than once." }];
      throw new Problem("invalid_query", summary(errors), { errors });
    }
    values[name] = value;
  }
  if (schema === undefined) {
    const errors = Object.keys(values).map((name) => ({ path: `/${name}`, reason: "There is no such parameter." }));
    if (errors.length > 0) throw new Problem("invalid_query", summary(errors), { errors });
    return undefined;
  }
  const result = strict(schema).safeParse(values, { reportInput: true });
  if (result.success) return result.data;
  const errors = fieldErrors(result.error.issues);
  throw new Problem("invalid_query", summary(errors), { errors });
}

const strictOnes = new WeakMap<z.ZodObject, z.ZodObject>();

/** The schema as it refuses unknown fields; made once, because making it takes longer than using it. */
function strict(schema: z.ZodObject): z.ZodObject {
  const known = strictOnes.get(schema);
  if (known !== undefined) return known;
  const made = schema.strict();
  strictOnes.set(schema, made);
  return made;
}

function parsedHeaders(schema: z.ZodObject, request: Request): unknown {
  const values: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const value = request.headers.get(name);
    if (value !== null) values[name] = value;
  }
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  throw new Problem("malformed_request", `A header is malformed: ${String(result.error.issues[0]?.path[0] ?? "")}.`);
}

function requireBodyType(request: Request, taken: readonly string[]): void {
  const type = (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const fits = taken.some((one) => (one.endsWith("/*") ? type.startsWith(one.slice(0, -1)) : type === one));
  if (!fits) {
    throw new Problem("unsupported_media_type", `Send the body with one of these content types: ${taken.join(", ")}.`);
  }
}
