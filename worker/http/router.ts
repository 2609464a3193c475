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
import { fieldErrors } from "#worker/http/field-errors";
import { readJsonBody, summary } from "#worker/http/json-body";

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
      const read = await readCall(route, arrival, rawParams);
      // The fields were read by the schemas of this very route; its type cannot be followed through a union of routes.
      return finished(route, await handler({ ...arrival, principal, ...read } as unknown as Call<R>));
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
  const query = parsedQuery(route.query, arrival.url);
  const headers = route.headers === undefined ? undefined : parsedHeaders(route.headers, arrival.request);
  if (route.bodyTypes !== undefined) requireBodyType(arrival.request, route.bodyTypes);
  const { body, raw } =
    route.body === undefined
      ? { body: undefined, raw: undefined }
      : await readJsonBody(arrival.request, route.body, route.bodyBytesMax ?? JSON_BODY_BYTES_MAX);
  return { params, query, headers, body, raw };
}

/** The answer of a handler, with the route's status where it gave a value. */
export function finished(route: Route, result: Response | object | undefined): Response {
  if (result instanceof Response) return result;
  return result === undefined ? emptyAnswer() : jsonAnswer(route.status, result);
}

/** Puts everything on the app; another method at a known address is 405, every other address 404. */
export function mount(app: Hono<AppEnv>, mounted: readonly Mounted[]): void {
  const methodsAt = new Map<string, string[]>();
  for (const { method, path, answer } of mounted) {
    app.on(method.toUpperCase(), honoPath(path), (context) => answer(arrivalOf(context), context.req.param()));
    methodsAt.set(path, [...(methodsAt.get(path) ?? []), method.toUpperCase()]);
  }
  for (const [path, methods] of methodsAt) {
    const allow = (methods.includes("GET") ? [...methods, "HEAD"] : methods).join(", ");
    app.all(honoPath(path), (context) =>
      problemAnswer("method_not_allowed", `This address takes ${allow}.`, context.get("requestId"), {
        headers: { allow },
      }),
    );
  }
}

export function arrivalOf(context: Context<AppEnv>): Arrival {
  return {
    env: context.env,
    request: context.req.raw,
    url: new URL(context.req.raw.url),
    requestId: context.get("requestId"),
    waitUntil: (work) => context.executionCtx.waitUntil(work),
  };
}

function honoPath(path: string): string {
  return path.replaceAll(/\{([a-z_]+)\}/g, ":$1");
}

/** What a malformed name in an address is: the same as an unknown one, so that guesses learn nothing. */
const UNKNOWN: Readonly<Record<string, ProblemCode>> = {
  endpoint: "endpoint_not_found",
  job: "job_not_found",
  name: "output_not_found",
  file: "file_not_found",
  key: "key_not_found",
  pod: "pod_not_found",
  node: "node_not_found",
  replica: "replica_not_found",
  batch: "batch_not_found",
  operation: "operation_not_found",
  webhook: "webhook_not_found",
  delivery: "delivery_not_found",
};

export const UNKNOWN_DETAIL = "There is nothing of that name in your workspace.";

function parsedParams(schema: z.ZodObject, rawParams: Record<string, string>): unknown {
  const result = schema.safeParse(rawParams);
  if (result.success) return result.data;
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
  const result = schema.strict().safeParse(values, { reportInput: true });
  if (result.success) return result.data;
  const errors = fieldErrors(result.error.issues);
  throw new Problem("invalid_query", summary(errors), { errors });
}

function parsedHeaders(schema: z.ZodObject, request: Request): unknown {
  const values = Object.fromEntries(
    Object.keys(schema.shape).flatMap((name) => {
      const value = request.headers.get(name);
      return value === null ? [] : [[name, value]];
    }),
  );
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
