/**
 * The text of a build document as plain data: JSON, or the part of YAML that means the same. Documents come from others,
 * so size, depth and number of values are bounded, aliases and tags are refused, and no key can reach a prototype.
 */
import { isAlias, isMap, isScalar, isSeq, parseDocument } from "yaml";
import { type Json, type JsonObject, JsonSyntaxError, parseExactJson } from "#contract/exact-json";
import { type BuildFault, buildFault } from "./draft.ts";

/** Twice the largest manifest: indented text is longer. */
export const BUILD_DOCUMENT_BYTES_MAX = 2_097_152;
/** Its parser needs a second and more for each million characters. */
const YAML_LENGTH_MAX = 1_048_576;
const DEPTH_MAX = 32;
/** Values of one YAML document; a manifest at its limits has a tenth of them. */
const VALUES_MAX = 200_000;

export type BuildDocument = { readonly ok: true; readonly value: Json } | BuildFault;

/**
 * Reads a document. In YAML every plain word but null, true and false is text: 3.10 is a version and not a number.
 * Never throws for what the text holds.
 */
export function readBuildDocument(text: string): BuildDocument {
  // UTF-16 units: a bound on the work, which is what matters here.
  if (text.length > BUILD_DOCUMENT_BYTES_MAX) {
    return buildFault(`The document has ${text.length} characters; ${BUILD_DOCUMENT_BYTES_MAX} are the most.`);
  }
  const plain = text.replace(/^\uFEFF/, "");
  return /^\s*[{[]/.test(plain) ? readJson(plain) : readYaml(plain);
}

function readJson(text: string): BuildDocument {
  try {
    return { ok: true, value: parseExactJson(text, { pythonNumbers: true }) };
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return buildFault(`The document is not JSON: ${error.message}.`);
  }
}

function readYaml(text: string): BuildDocument {
  if (text.length > YAML_LENGTH_MAX) {
    return buildFault(`The YAML has ${text.length} characters; ${YAML_LENGTH_MAX} are the most. JSON may be longer.`);
  }
  try {
    // The parser's own search for equal keys compares each with each; the reading below looks them up.
    const document = parseDocument(text, { schema: "failsafe", uniqueKeys: false, logLevel: "error" });
    const [error] = document.errors;
    // What follows the first line quotes the document.
    if (error !== undefined) return buildFault(`The document is not YAML: ${error.message.split("\n", 1)[0]}`);
    return { ok: true, value: new YamlReading().valueOf(document.contents, 0) };
  } catch (error) {
    if (error instanceof YamlRefusal) return buildFault(error.message);
    // The parser descends by calls of its own, so that brackets by the thousand end its stack.
    if (error instanceof RangeError) return buildFault("The document is nested too deeply.");
    throw error;
  }
}

class YamlRefusal extends Error {}

const TAGS = /^(!|tag:yaml\.org,2002:(map|seq|str|int|float|bool|null))$/;

class YamlReading {
  #values = 0;

  valueOf(node: unknown, depth: number): Json {
    this.#values += 1;
    if (this.#values > VALUES_MAX) throw new YamlRefusal(`The document has more than ${VALUES_MAX} values.`);
    if (depth > DEPTH_MAX) throw new YamlRefusal("The document is nested too deeply.");
    if (node === null) return null;
    if (isAlias(node)) {
      throw new YamlRefusal(`The alias *${node.source} is not followed: write what it stands for in its place.`);
    }
    if (isScalar(node)) {
      checkTag(node.tag);
      const text = String(node.value ?? "");
      return node.type === "PLAIN" || node.type === undefined ? plainValue(text) : text;
    }
    if (isSeq(node)) {
      checkTag(node.tag);
      return node.items.map((item) => this.valueOf(item, depth + 1));
    }
    if (isMap(node)) {
      checkTag(node.tag);
      const object: JsonObject = Object.create(null);
      for (const { key, value } of node.items) {
        if (!isScalar(key)) throw new YamlRefusal("A key of the document is not text.");
        const name = String(key.value ?? "");
        if (Object.hasOwn(object, name)) throw new YamlRefusal(`The key ${JSON.stringify(name)} is there twice.`);
        object[name] = this.valueOf(value, depth + 1);
      }
      return object;
    }
    throw new YamlRefusal("The document holds something that is neither text, a list nor a mapping.");
  }
}

function checkTag(tag: string | undefined): void {
  if (tag !== undefined && !TAGS.test(tag)) throw new YamlRefusal(`The tag ${tag} is not taken: it names a program.`);
}

function plainValue(text: string): Json {
  if (/^(|~|null|Null|NULL)$/.test(text)) return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  return text;
}
