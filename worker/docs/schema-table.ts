import { type Html, html, prose } from "#worker/docs/html";

type Schema = Record<string, unknown>;

/** A table of a schema's fields, or its type in one line when it has none. */
export function schemaRows(schema: Schema): Html {
  const forms = (schema.oneOf ?? schema.anyOf) as Schema[] | undefined;
  if (forms?.some((form) => form.properties !== undefined)) {
    return html`${forms.map((form) => html`<details><summary>${formName(form)}</summary>${schemaRows(form)}</details>`)}`;
  }
  const properties = schema.properties as Record<string, Schema> | undefined;
  if (properties === undefined) return html`<p>${typeName(schema)}</p>`;
  const required = (schema.required ?? []) as string[];
  return html`<div class="scroll"><table><thead><tr><th>field</th><th>type</th><th></th></tr></thead><tbody>${Object.entries(
    properties,
  ).map(
    ([name, property]) =>
      html`<tr><td><code>${name}</code></td><td>${typeName(property)}</td><td>${required.includes(name) ? "" : "optional. "}${notes(property)}</td></tr>`,
  )}</tbody></table></div>`;
}

/** One of several forms is named after the constant that tells it from the others. */
function formName(form: Schema): string {
  const properties = (form.properties ?? {}) as Record<string, Schema>;
  const constant = Object.entries(properties).find(([, property]) => property.const !== undefined);
  return constant === undefined ? "one form" : `${constant[0]}: ${String(constant[1].const)}`;
}

/** A type in words, with links to named schemas. */
export function typeName(schema: Schema): Html {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.split("/").at(-1) ?? "";
    return html`<a href="#schema-${name}">${name}</a>`;
  }
  const forms = (schema.oneOf ?? schema.anyOf) as Schema[] | undefined;
  if (forms !== undefined)
    return html`${forms.map((form, index) => html`${index === 0 ? "" : " or "}${typeName(form)}`)}`;
  if (typeof schema.title === "string") return html`${schema.title}`;
  if (Array.isArray(schema.enum))
    return html`${schema.enum.map((value, index) => html`${index === 0 ? "" : " · "}<code>${String(value)}</code>`)}`;
  if (schema.const !== undefined) return html`<code>${String(schema.const)}</code>`;
  if (schema.type === "array") return html`list of ${typeName((schema.items ?? {}) as Schema)}`;
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : String(schema.type ?? "any");
  return html`${schema.type === "object" && schema.properties !== undefined ? fieldsIn(schema) : type}`;
}

function fieldsIn(schema: Schema): Html {
  const properties = schema.properties as Record<string, Schema>;
  return html`object of ${Object.entries(properties).map(
    ([name, property], index) => html`${index === 0 ? "" : ", "}<code>${name}</code> (${typeName(property)})`,
  )}`;
}

/** What bounds a value, and what it is when left out. */
export function notes(schema: Schema): Html {
  const parts: Html[] = [];
  if (typeof schema.description === "string") parts.push(html`${prose(schema.description)}. `);
  for (const [key, label] of BOUNDS) {
    const bound = schema[key];
    if (typeof bound === "number" && Math.abs(bound) < Number.MAX_SAFE_INTEGER) parts.push(html`${label} ${bound}. `);
  }
  if (schema.default !== undefined) parts.push(html`default <code>${JSON.stringify(schema.default)}</code>. `);
  return html`${parts}`;
}

const BOUNDS = [
  ["minimum", "at least"],
  ["maximum", "at most"],
  ["exclusiveMinimum", "more than"],
  ["minLength", "characters at least"],
  ["maxLength", "characters at most"],
  ["minItems", "items at least"],
  ["maxItems", "items at most"],
] as const;
