import { describe, expect, it } from "vitest";
import { routes } from "#contract/api/all";
import { openApiDocument } from "#contract/openapi";
import { problemTable } from "#contract/problem-table";
import { problems } from "#contract/problems";
import { WebhookEvent } from "#contract/webhook";

type Node = { [key: string]: unknown };
const document = openApiDocument("1.2.3");

/** Every object of a document with its path. */
function* nodesOf(value: unknown, path = "#"): Generator<[string, Node]> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield [path, value as Node];
  for (const [key, item] of Object.entries(value)) {
    yield* nodesOf(item, `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`);
  }
}

function at(pointer: string): unknown {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<unknown>((node, step) => (node as Node | undefined)?.[step], document);
}

describe("the OpenAPI document", () => {
  it("has every route once, under a name of its own", () => {
    const operations = Object.values(document.paths as Record<string, Node>).flatMap((path) => Object.values(path));
    const names = operations.map((operation) => (operation as Node).operationId);
    expect(names.toSorted()).toEqual(routes.map((route) => route.id).toSorted());
    expect(new Set(names).size).toBe(names.length);
  });

  it("is plain JSON", () => {
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  it("refers only to what it holds", () => {
    const references = [...nodesOf(document)].flatMap(([, node]) => (typeof node.$ref === "string" ? [node.$ref] : []));
    expect(references.length).toBeGreaterThan(20);
    expect(references.filter((reference) => at(reference) === undefined)).toEqual([]);
    expect(references.filter((reference) => !reference.startsWith("#/components/schemas/"))).toEqual([]);
    expect(
      [...nodesOf(document)].filter(([, node]) => "$defs" in node || "$schema" in node).map(([path]) => path),
    ).toEqual([]);
  });

  it.each(routes.map((route) => [route.id, route] as const))("declares each path parameter of %s", (_id, route) => {
    const operation = (document.paths as Record<string, Record<string, Node>>)[route.path]?.[route.method] ?? {};
    const parameters = (operation.parameters ?? []) as Node[];
    const inPath = parameters.filter((parameter) => parameter.in === "path");
    const wanted = [...route.path.matchAll(/\{([a-z_]+)\}/g)].map((match) => match[1]);
    expect(inPath.map((parameter) => parameter.name).toSorted()).toEqual(wanted.toSorted());
    expect(inPath.every((parameter) => parameter.required === true)).toBe(true);
    expect(Object.keys(operation.responses as Node)).toContain(String(route.status));
  });

  it("closes what is sent to us and leaves answers open to grow", () => {
    const schemas = (document.components as Node).schemas as Record<string, Node>;
    expect(schemas.NewJob?.additionalProperties).toBe(false);
    expect(schemas.Job?.additionalProperties).toBeUndefined();
    expect(schemas.Job?.required).toContain("outputs");
    expect(schemas.NewJob?.required).toBeUndefined();
  });

  it("has one schema for each form, and the plain name for the one we answer with", () => {
    const schemas = (document.components as Node).schemas as Record<string, Node>;
    const again = Object.entries(schemas).filter(([name]) => name.endsWith("Request"));
    expect(again.map(([name]) => name)).toContain("JobWebhookRequest");
    for (const [name, schema] of again) expect(schema).not.toEqual(schemas[name.replace(/Request$/, "")]);
    const answers = routes.map(({ path, method }) => at(`#/paths/${path.replaceAll("/", "~1")}/${method}/responses`));
    expect(JSON.stringify(answers)).not.toMatch(/schemas\/[A-Za-z]+Request"/);
  });

  it("says what a line of a streamed answer holds", () => {
    expect(at("#/paths/~1v1~1batches~1{batch}~1results/get/responses/200/content/application~1x-ndjson")).toMatchObject(
      {
        "x-item-schema": { $ref: "#/components/schemas/BatchResult" },
      },
    );
  });

  it("says where an answer may be a file instead of JSON", () => {
    const typesOf = (path: string) => Object.keys((at(`#/paths/${path}/content`) ?? {}) as Node).toSorted();
    const submit = "~1v1~1endpoints~1{endpoint}~1jobs/post/responses";
    const files = ["*/*", "application/json", "audio/*", "image/*", "video/*"];
    expect(typesOf(`${submit}/200`)).toEqual([...files, "text/event-stream"].toSorted());
    expect(typesOf(`${submit}/202`)).toEqual(["application/json"]);
    expect(typesOf("~1v1~1jobs~1{job}/get/responses/200")).toEqual(files);
  });

  it("names the headers of repeated calls and of refusals that pass", () => {
    const taking = routes.filter((route) => {
      const { parameters = [] } = at(`#/paths/${route.path.replaceAll("/", "~1")}/${route.method}`) as Node;
      return (parameters as Node[]).some(({ name }) => name === "idempotency-key");
    });
    const making = ["createJob", "createBatch", "retryJob", "createOperation", "createEndpoint", "createKey"];
    expect(taking.map(({ id }) => id)).toEqual(expect.arrayContaining(making));
    for (const route of routes) {
      const responses = at(`#/paths/${route.path.replaceAll("/", "~1")}/${route.method}/responses`) as Node;
      const headersAt = (status: number) => Object.keys((responses[status] as Node).headers as Node);
      expect(headersAt(route.status).includes("idempotency-replayed")).toBe(taking.includes(route));
      expect(headersAt(503)).toContain("retry-after");
    }
    expect(at("#/paths/~1v1~1endpoints~1{endpoint}~1jobs/post/responses/429/headers/retry-after")).toBeDefined();
    expect(at("#/paths/~1v1~1keys/post/responses/409/headers/retry-after")).toBeDefined();
    expect(at("#/paths/~1v1~1jobs~1{job}~1retry/post/responses/409/headers/retry-after")).toBeUndefined();
  });

  it("describes the message of every event that can be subscribed to", () => {
    expect(Object.keys(document.webhooks as Node)).toEqual(WebhookEvent.options);
    for (const event of WebhookEvent.options) {
      const { parameters, requestBody } = at(`#/webhooks/${event}/post`) as { parameters: Node[]; requestBody: Node };
      expect(parameters.map(({ name }) => name)).toEqual(["webhook-id", "webhook-timestamp", "webhook-signature"]);
      expect(requestBody.required).toBe(true);
    }
    expect(at("#/webhooks/job.failed/post/requestBody/content/application~1json/schema/properties")).toMatchObject({
      type: { const: "job.failed" },
      data: { $ref: "#/components/schemas/WebhookJob" },
    });
  });

  it("asks for a key wherever a route has a scope", () => {
    for (const route of routes) {
      const operation = (document.paths as Record<string, Record<string, Node>>)[route.path]?.[route.method];
      expect(Array.isArray(operation?.security) && operation.security.length > 0).toBe(route.scope !== null);
    }
  });
});

describe("the table of problems", () => {
  it("has a row and an anchor for every code", () => {
    const table = problemTable();
    for (const [code, { status, title }] of Object.entries(problems)) {
      expect(table).toContain(`| <a id="${code}"></a>\`${code}\` | ${status} | ${title} |`);
    }
  });

  it("has 4xx and 5xx statuses and stable forms alone", () => {
    for (const [code, { status }] of Object.entries(problems)) {
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
    }
  });
});
