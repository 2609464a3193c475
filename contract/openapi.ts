/** The OpenAPI 3.1 document, read from the routes. Pure: the Worker serves it, the generator writes it to docs/. */
import * as z from "zod";
import { routes } from "#contract/api/all";
import type { Route } from "#contract/api/route";
import { ProblemBody, type ProblemCode, problems } from "#contract/problems";

type JsonSchema = { [key: string]: unknown };
type Direction = "input" | "output";

/** @param server origin of a running server; left out, addresses are relative */
export function openApiDocument(version: string, server?: string): JsonSchema {
  const components = new Components();
  const paths: Record<string, JsonSchema> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route, components) };
  }
  components.schema(ProblemBody, "output");
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

function headersOf(route: Route): z.ZodObject | undefined {
  if (route.idempotent === undefined) return route.headers;
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
    return { requestBody: { required: true, content: { "application/json": { schema } } } };
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

function responsesOf(route: Route, components: Components): JsonSchema {
  const content = contentOf(route, components);
  const responses: Record<string, JsonSchema> = {
    [route.status]: { description: route.summary, headers: HEADERS, ...content },
  };
  for (const [status, description] of Object.entries(route.alsoReturns ?? {})) {
    const hasBody = status !== "204" && status !== "304";
    responses[status] = { description, headers: HEADERS, ...(hasBody ? content : {}) };
  }
  const byStatus = Map.groupBy(problemsOf(route), (code) => problems[code].status);
  for (const [status, codes] of [...byStatus].toSorted(([a], [b]) => a - b)) {
    responses[status] = {
      description: codes.map((code) => `\`${code}\`: ${problems[code].title}`).join(". "),
      headers: HEADERS,
      content: { "application/problem+json": { schema: components.schema(ProblemBody, "output") } },
    };
  }
  return responses;
}

function contentOf(route: Route, components: Components): JsonSchema {
  if (route.returns !== undefined) {
    return { content: { "application/json": { schema: components.schema(route.returns, "output") } } };
  }
  if (route.returnTypes === undefined) return {};
  return { content: Object.fromEntries(route.returnTypes.map((type) => [type, {}])) };
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
        // Answers may gain fields; only what we refuse is closed.
        if (direction === "output" && def.type === "object" && def.catchall === undefined) {
          delete jsonSchema.additionalProperties;
        }
      },
    }) as JsonSchema;
    const definitions = Object.entries(($defs ?? {}) as Record<string, JsonSchema>);
    const names = new Map(definitions.map(([id, definition]) => [id, this.#nameFor(id, definition, definitions)]));
    for (const [id, definition] of definitions) {
      this.#schemas.set(names.get(id) ?? id, withRefs(definition, names) as JsonSchema);
    }
    return withRefs(root, names) as JsonSchema;
  }

  named(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#schemas].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** The id itself, unless another form of it is there already. */
  #nameFor(id: string, definition: JsonSchema, all: readonly [string, JsonSchema][]): string {
    const plain = new Map(all.map(([name]) => [name, name]));
    const text = JSON.stringify(withRefs(definition, plain));
    for (const name of [id, `${id}Request`]) {
      const known = this.#schemas.get(name);
      if (known === undefined || JSON.stringify(known) === text) return name;
    }
    return `${id}Request`;
  }
}

/** The same schema with `#/$defs/X` pointing into components. */
function withRefs(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((item) => withRefs(item, names));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (key !== "$ref" || typeof item !== "string") return [key, withRefs(item, names)];
      const id = item.replace("#/$defs/", "");
      return [key, `#/components/schemas/${names.get(id) ?? id}`];
    }),
  );
}
