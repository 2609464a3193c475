/** The API reference, drawn from the OpenAPI document, which is drawn from the routes. */
import { routes } from "#contract/api/all";
import type { Route } from "#contract/api/route";
import { openApiDocument, problemsOf } from "#contract/openapi";
import { problems } from "#contract/problems";
import { exampleCall } from "#worker/docs/example-call";
import { type Html, html, page, prose } from "#worker/docs/html";
import { notes, schemaRows, typeName } from "#worker/docs/schema-table";

type Schema = Record<string, unknown>;

export function referencePage(origin: string): Html {
  const document = openApiDocument("", origin);
  const schemas = ((document.components as Schema).schemas ?? {}) as Record<string, Schema>;
  const paths = document.paths as Record<string, Record<string, Schema>>;
  const groups = [...Map.groupBy(routes, (route) => route.tag)];
  return page(
    "Pilotlight: API reference",
    html`<p><a href="/">Pilotlight</a></p>
<h1>API reference</h1>
<p>Send a key with each call: <code>Authorization: Bearer pl_…</code> or <code>X-API-Key: pl_…</code>. A key has scopes; <code>admin</code> holds all.
Bodies are JSON. Errors are <a href="/docs/problems">problems</a> with a stable <code>code</code>. Every answer has a <code>request-id</code>.
The same as a document: <a href="/openapi.json">openapi.json</a>.</p>
<nav aria-label="Routes">${groups.map(
      ([tag, members]) =>
        html`<p class="dim">${tag}</p><ul>${members.map((route) => html`<li><a href="#${route.id}">${route.summary}</a></li>`)}</ul>`,
    )}<p class="dim">Schemas</p><ul>${Object.keys(schemas).map((name) => html`<li><a href="#schema-${name}">${name}</a></li>`)}</ul></nav>
${groups.map(
  ([tag, members]) =>
    html`<section><h2>${tag}</h2>${members.map((route) => section(route, paths[route.path]?.[route.method] ?? {}, origin))}</section>`,
)}
<section><h2>Schemas</h2>${Object.entries(schemas).map(
      ([name, schema]) => html`<h3 id="schema-${name}">${name}</h3>${description(schema)}${schemaRows(schema)}`,
    )}</section>`,
  );
}

function section(route: Route, operation: Schema, origin: string): Html {
  const parameters = (operation.parameters ?? []) as Schema[];
  const body = bodySchema(operation);
  const returned = returnedSchema(operation, route.status);
  const codes = problemsOf(route);
  return html`<article>
<h3 id="${route.id}">${route.summary}</h3>
<p><span class="verb">${route.method.toUpperCase()}</span><code>${route.path}</code></p>
${route.description === undefined ? html`` : html`<p>${prose(route.description)}</p>`}
<p class="dim">${route.scope === null ? "Needs no key." : html`Scope: <code>${route.scope}</code>.`} Answers ${route.status}${
    returned === undefined ? html`` : html` with ${returned}`
  }.${Object.entries(route.alsoReturns ?? {}).map(([status, text]) => html` ${status}: ${prose(text)}.`)}</p>
${parameters.length === 0 ? html`` : parameterTable(parameters)}
${body === undefined ? html`` : html`<p class="dim">Body</p>${body}`}
<pre><code>${exampleCall(route, origin)}</code></pre>
<details><summary>Problems</summary><p>${codes.map(
    (code) => html`<a href="/docs/problems#${code}"><code>${code}</code></a> ${problems[code].status} &nbsp; `,
  )}</p></details>
</article>
`;
}

function description(schema: Schema): Html {
  return typeof schema.description === "string" ? html`<p>${prose(schema.description)}</p>` : html``;
}

function parameterTable(parameters: readonly Schema[]): Html {
  return html`<div class="scroll"><table><thead><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr></thead><tbody>${parameters.map(
    (parameter) =>
      html`<tr><td><code>${String(parameter.name)}</code></td><td>${String(parameter.in)}</td><td>${typeName(
        (parameter.schema ?? {}) as Schema,
      )}</td><td>${parameter.required === true ? "required. " : ""}${prose(String(parameter.description ?? ""))} ${notes((parameter.schema ?? {}) as Schema)}</td></tr>`,
  )}</tbody></table></div>`;
}

function bodySchema(operation: Schema): Html | undefined {
  const content = ((operation.requestBody ?? {}) as Schema).content as Record<string, Schema> | undefined;
  if (content === undefined) return undefined;
  const json = content["application/json"]?.schema as Schema | undefined;
  if (json !== undefined) return html`${"$ref" in json ? html`<p>${typeName(json)}</p>` : schemaRows(json)}`;
  return html`<p>${Object.keys(content).map((type) => html`<code>${type}</code> `)}</p>`;
}

function returnedSchema(operation: Schema, status: number): Html | undefined {
  const response = ((operation.responses ?? {}) as Record<string, Schema>)[status];
  const content = response?.content as Record<string, Schema> | undefined;
  if (content === undefined) return undefined;
  const json = content["application/json"]?.schema as Schema | undefined;
  if (json !== undefined) return typeName(json);
  return html`${Object.entries(content).map(([type, { "x-item-schema": line }], index) => {
    const lines = line === undefined ? html`` : html`, each line a ${typeName(line as Schema)}`;
    return html`${index === 0 ? "" : ", "}${type}${lines}`;
  })}`;
}
