/** The OpenAPI 3.1 document, read from the routes. Pure: the Worker serves it, the generator writes it to docs/. */
import * as z from "zod";
import { routes } from "#contract/api/all";
import type { Route } from "#contract/api/route";
import { ProblemBody, type ProblemCode, problems } from "#contract/problems";
import {
  MessageId,
  WEBHOOK_ID_HEADER,
  WEBHOOK_SIGNATURE_HEADER,
  WEBHOOK_TIMESTAMP_HEADER,
  WebhookDisabled,
  WebhookEvent,
  WebhookJob,
  WebhookMessage,
  WebhookRelease,
} from "#contract/webhook";

type JsonSchema = { [key: string]: unknown };
type Direction = "input" | "output";

/** @param server origin of a running server; left out, addresses are relative */
export function openApiDocument(version: string, server?: string): JsonSchema {
  const components = new Components();
  // What we answer with comes first and so has the plain names; a form that differs when it is sent to us has another.
  for (const { returns, returnLines } of routes) {
    for (const schema of [returns, returnLines]) if (schema !== undefined) components.schema(schema, "output");
  }
  const paths: Record<string, JsonSchema> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route, components) };
  }
  components.schema(ProblemBody, "output");
  const webhooks = Object.fromEntries(WebhookEvent.options.map((event) => [event, message(event, components)]));
  return {
    openapi: "3.1.1",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: {
      title: "Pilotlight",
      version,
      summary: "ComfyUI workflows as typed HTTPS endpoints",
      description:
        "Send an API key as `Authorization: Bearer pl_…` or `X-API-Key: pl_…`. Errors are application/problem+json with a stable `code`. Every answer carries a `request-id` header.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: server ?? "/" }],
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    webhooks,
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "An API key, pl_…" },
        header: { type: "apiKey", in: "header", name: "X-API-Key", description: "An API key, pl_…" },
      },
      schemas: components.named(),
    },
  };
}

function operation(route: Route, components: Components): JsonSchema {
  const parameters = [
    ...parametersOf(route.params, "path", components),
    ...parametersOf(route.query, "query", components),
    ...parametersOf(headersOf(route), "header", components),
  ];
  return {
    operationId: route.id,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    security: securityOf(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...requestBodyOf(route, components),
    responses: responsesOf(route, components),
    ...(route.scope === null ? {} : { "x-required-scope": route.scope }),
  };
}

const IdempotencyHeader = z.object({
  "idempotency-key": z.string().optional().meta({
    description:
      "Yours to choose; for 24 h, the same call sent again with it gets the first answer and makes nothing new",
  }),
});

function takesKey(route: Route): boolean {
  return route.idempotent !== undefined || route.headers?.shape["idempotency-key"] !== undefined;
}

function headersOf(route: Route): z.ZodObject | undefined {
  if (!takesKey(route)) return route.headers;
  return route.headers === undefined ? IdempotencyHeader : route.headers.extend(IdempotencyHeader.shape);
}

/** A route with `signature` among its parameters opens without a key as well. */
function securityOf(route: Route): JsonSchema[] {
  if (route.scope === null) return [];
  const keys: JsonSchema[] = [{ bearer: [] }, { header: [] }];
  return route.query !== undefined && "signature" in route.query.shape ? [...keys, {}] : keys;
}

function parametersOf(
  schema: z.ZodObject | undefined,
  place: "path" | "query" | "header",
  components: Components,
): JsonSchema[] {
  if (schema === undefined) return [];
  const described = components.schema(schema, "input");
  const properties = (described.properties ?? {}) as Record<string, JsonSchema>;
  const required = (described.required ?? []) as string[];
  return Object.entries(properties).map(([name, { description, examples, ...property }]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: examples === undefined ? property : { ...property, examples },
  }));
}

function requestBodyOf(route: Route, components: Components): JsonSchema {
  if (route.body !== undefined) {
    const schema = components.schema(route.body, "input");
    const required = route.bodyOptional !== true;
    return { requestBody: { required, content: { "application/json": { schema } } } };
  }
  if (route.bodyTypes === undefined) return {};
  const content = route.bodyTypes.map((type) => [
    type,
    type === "multipart/form-data"
      ? { schema: { type: "object", properties: { file: { type: "string", format: "binary" } }, required: ["file"] } }
      : {},
  ]);
  return { requestBody: { required: true, content: Object.fromEntries(content) } };
}

const HEADERS = {
  "request-id": { description: "Name of this request, for questions about it", schema: { type: "string" } },
};
const REPLAYED_HEADER = {
  "idempotency-replayed": {
    description: "This is the answer that an earlier request with the same Idempotency-Key got; left out otherwise",
    schema: { const: "true" },
  },
};
const RETRY_AFTER_HEADER = {
  "retry-after": { description: "Seconds to wait before the next try", schema: { type: "integer", minimum: 1 } },
};

function responsesOf(route: Route, components: Components): JsonSchema {
  const contentFor = (status: string): JsonSchema => contentOf(route, Number(status), components);
  const successHeaders = takesKey(route) ? { ...HEADERS, ...REPLAYED_HEADER } : HEADERS;
  const responses: Record<string, JsonSchema> = {
    [route.status]: { description: route.summary, headers: successHeaders, ...contentFor(String(route.status)) },
  };
  for (const [status, description] of Object.entries(route.alsoReturns ?? {})) {
    const hasBody = status !== "204" && status !== "304";
    responses[status] = { description, headers: successHeaders, ...(hasBody ? contentFor(status) : {}) };
  }
  const byStatus = Map.groupBy(problemsOf(route), (code) => problems[code].status);
  for (const [status, codes] of [...byStatus].toSorted(([a], [b]) => a - b)) {
    responses[status] = {
      description: codes.map((code) => `\`${code}\`: ${problems[code].title}`).join(". "),
      headers: codes.some(saysWhenToRetry) ? { ...HEADERS, ...RETRY_AFTER_HEADER } : HEADERS,
      content: { "application/problem+json": { schema: components.schema(ProblemBody, "output") } },
    };
  }
  return responses;
}

/** Whether the answer with this code has a Retry-After header. */
function saysWhenToRetry(code: ProblemCode): boolean {
  const { status, retryable } = problems[code];
  return code === "request_in_flight" || (retryable && (status === 429 || status === 503));
}

function contentOf(route: Route, status: number, components: Components): JsonSchema {
  if (route.returns !== undefined) {
    const json = { "application/json": { schema: components.schema(route.returns, "output") } };
    const others = (route.alsoReturnTypes?.[status] ?? []).map((type) => [type, {}]);
    return { content: { ...json, ...Object.fromEntries(others) } };
  }
  if (route.returnTypes === undefined) return {};
  if (route.returnLines !== undefined) {
    const line = components.schema(route.returnLines, "output");
    const schema = { type: "string", description: "Lines of JSON; `x-item-schema` says what each one holds" };
    // OpenAPI 3.1 cannot describe one line of many; 3.2 calls this itemSchema.
    return { content: Object.fromEntries(route.returnTypes.map((type) => [type, { schema, "x-item-schema": line }])) };
  }
  return { content: Object.fromEntries(route.returnTypes.map((type) => [type, {}])) };
}

/** What we POST to a subscriber for one kind of event. */
function message(event: WebhookEvent, components: Components): JsonSchema {
  const known =
    event === "webhook.test"
      ? WebhookMessage
      : WebhookMessage.extend({
          type: z.literal(event),
          data:
            event === "webhook.disabled"
              ? WebhookDisabled
              : event === "release.ready" || event === "release.failed"
                ? WebhookRelease
                : WebhookJob,
        });
  const headers = z.object({
    [WEBHOOK_ID_HEADER]: MessageId.meta({ description: "The same for every try of an event: remember it" }),
    [WEBHOOK_TIMESTAMP_HEADER]: z.string().meta({ description: "Unix seconds of this try" }),
    [WEBHOOK_SIGNATURE_HEADER]: z.string().meta({
      description: "`v1,` and base64 for each secret that signs, then `v1a,` and base64, with spaces between them",
    }),
  });
  return {
    post: {
      operationId: event.replace(/\.(.)/, (_, first: string) => first.toUpperCase()),
      tags: ["Webhooks"],
      summary: `What a subscriber of \`${event}\` gets`,
      description: "Signed as Standard Webhooks say; verify before you read. Answer within 15 seconds.",
      security: [],
      parameters: parametersOf(headers, "header", components),
      requestBody: {
        required: true,
        content: { "application/json": { schema: components.schema(known, "output") } },
      },
      responses: {
        "2XX": { description: "Delivered" },
        "410": { description: "Disables the webhook" },
        default: { description: "Tried again later, as often as ten times over 75 hours" },
      },
    },
  };
}

/** The problems a route may answer with: its own, and those that follow from what it is. */
export function problemsOf(route: Route): ProblemCode[] {
  const codes: ProblemCode[] = ["malformed_request"];
  if (route.scope !== null) codes.push("unauthenticated", "missing_scope");
  if (route.query !== undefined) codes.push("invalid_query");
  if (route.body !== undefined) codes.push("malformed_json", "invalid_body");
  if (route.body !== undefined || route.bodyTypes !== undefined) {
    codes.push("request_timeout", "body_too_large", "unsupported_media_type");
  }
  if (route.idempotent !== undefined) {
    codes.push("invalid_idempotency_key", "request_in_flight", "idempotency_key_reused");
  }
  return [...new Set([...codes, ...route.problems, "internal" as const, "unavailable" as const])];
}

/** Schemas with an id, gathered under components; the same id with another form for input gets a name of its own. */
class Components {
  readonly #schemas = new Map<string, JsonSchema>();
  /** The form of each of them, with everything it refers to: by names alone, two forms might look the same. */
  readonly #forms = new Map<string, string>();

  /** The JSON Schema of a value that is sent to us (`input`) or by us (`output`). */
  schema(schema: z.ZodType, direction: Direction): JsonSchema {
    const {
      $schema: _dialect,
      $defs,
      ...root
    } = z.toJSONSchema(schema, {
      target: "draft-2020-12",
      io: direction,
      // A whole number beyond 2^53 is an integer to JSON; other things that JSON Schema cannot say are left open.
      unrepresentable: ({ zodSchema }) => (zodSchema._zod.def.type === "bigint" ? { type: "integer" } : "any"),
      override: ({ zodSchema, jsonSchema }) => {
        const { def } = zodSchema._zod;
        // What is read from text is left without its default.
        if (direction === "input" && def.type === "default") jsonSchema.default ??= def.defaultValue;
        // Answers may gain fields; only what we refuse is closed.
        if (direction === "output" && def.type === "object" && def.catchall === undefined) {
          delete jsonSchema.additionalProperties;
        }
      },
    }) as JsonSchema;
    const definitions = Object.entries(($defs ?? {}) as Record<string, JsonSchema>);
    const forms = new Map(definitions.map(([id]) => [id, formOf(id, new Map(definitions))]));
    const names = new Map(definitions.map(([id]) => [id, this.#nameFor(id, forms.get(id) ?? "")]));
    for (const [id, definition] of definitions) {
      const name = names.get(id) ?? id;
      this.#forms.set(name, forms.get(id) ?? "");
      this.#schemas.set(name, withRefs(definition, names) as JsonSchema);
    }
    return withRefs(root, names) as JsonSchema;
  }

  named(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#schemas].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** The id itself, unless another form of it is there already. */
  #nameFor(id: string, form: string): string {
    const known = this.#forms.get(id);
    return known === undefined || known === form ? id : `${id}Request`;
  }
}

const DEFS = "#/$defs/";

/** A definition as text, with what it refers to in place; a name within itself stays a name. */
function formOf(id: string, definitions: ReadonlyMap<string, JsonSchema>, within: readonly string[] = []): string {
  return JSON.stringify(definitions.get(id), (key, value: unknown) => {
    if (key !== "$ref" || typeof value !== "string") return value;
    const target = value.replace(DEFS, "");
    return within.includes(target) || target === id ? value : formOf(target, definitions, [...within, id]);
  });
}

/** The same schema with `#/$defs/X` pointing into components. */
function withRefs(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((item) => withRefs(item, names));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key !== "$ref" || typeof item !== "string") return [key, withRefs(item, names)];
      const id = item.replace(DEFS, "");
      return [key, `#/components/schemas/${names.get(id) ?? id}`];
    }),
  );
}
