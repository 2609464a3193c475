import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { isJsonObject, type Json, type JsonObject, parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { linkOf } from "#workflow/graph";
import { importWorkflow } from "#workflow/import-workflow";
import { classLookup, type KnownClass } from "#workflow/known-classes";
import { editorGraph } from "#workflow/ui/editor-graph";
import { customNodes } from "./object-info.ts";

const FOLDER = new URL("../../../../shared/workflows/", import.meta.url);
const PRESENT = existsSync(FOLDER);
const PAIRS = PRESENT
  ? readdirSync(FOLDER).flatMap((file) => {
      const name = file.replace(".ui.json", "");
      return name !== file && existsSync(new URL(`${name}.api.json`, FOLDER)) ? [name] : [];
    })
  : [];

const lookup = classLookup(customNodes);

function read(file: string): JsonObject {
  const value = parseExactJson(readFileSync(new URL(file, FOLDER), "utf8"), { pythonNumbers: true });
  if (!isJsonObject(value)) throw new Error(`${file} holds no object`);
  return value;
}

function convert(document: JsonObject): JsonObject {
  const converted = editorGraph(document, lookup);
  if (!converted.ok) throw new Error(JSON.stringify(converted));
  return converted.graph;
}

/** Values that a publisher changed in the API file alone: an address in place of the author's picture. */
const EDITED: ReadonlySet<string> = new Set(["iclight_reroutes 9.image"]);

/** Inner nodes of a group node, where an editor of its first months sent the ids from before they were grouped. */
const OLD_IDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cascade_groupnode_modelfree: { 60: "68:5", 61: "68:3", 62: "68:0", 64: "68:2", 66: "68:1" },
};

function expectedOf(pair: string): JsonObject {
  const theirs = read(`${pair}.api.json`);
  const idOf = (id: string): string => OLD_IDS[pair]?.[id] ?? id;
  for (const [id, node] of Object.entries(theirs)) {
    const inputs = isJsonObject(node) && isJsonObject(node.inputs) ? node.inputs : {};
    for (const [field, value] of Object.entries(inputs)) {
      const link = linkOf(value);
      if (link !== undefined) inputs[field] = [idOf(link.node), link.output];
    }
    delete theirs[id];
    theirs[idOf(id)] = node;
  }
  return theirs;
}

/** Keys of upload buttons, which editors of some years sent along; ComfyUI ignores them. */
const BUTTON_KEY = /^(?:upload|choose .* to upload)$/;

/** Every difference that changes what the server would do; inputs added to a class since the export do not. */
function differences(pair: string, ours: JsonObject, theirs: JsonObject): string[] {
  const found: string[] = [];
  for (const id of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const [mine, expected] = [ours[id], theirs[id]];
    if (!isJsonObject(mine) || !isJsonObject(expected))
      found.push(`${id}: ${mine === undefined ? "missing" : "extra"}`);
    else {
      if (mine.class_type !== expected.class_type) found.push(`${id}: ${String(mine.class_type)}`);
      found.push(...inputDifferences(pair, id, mine, expected));
    }
  }
  return found;
}

function inputDifferences(pair: string, id: string, mine: JsonObject, expected: JsonObject): string[] {
  const known = lookup(String(mine.class_type));
  const [a, b] = [mine.inputs, expected.inputs];
  if (!isJsonObject(a) || !isJsonObject(b)) return [`${id}: no inputs`];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((field) => {
    if (BUTTON_KEY.test(field) || EDITED.has(`${pair} ${id}.${field}`) || sameValue(a[field], b[field])) return [];
    if (b[field] === undefined && isDefault(known, field, a[field])) return [];
    return [`${id}.${field}: ${text(a[field])} for ${text(b[field])}`];
  });
}

function sameValue(one: Json | undefined, other: Json | undefined): boolean {
  const [a, b] = [linkOf(one), linkOf(other)];
  if (a !== undefined && b !== undefined) return a.node === b.node && a.output === b.output;
  return Object.is(one, other) || (one !== undefined && text(one) === text(other));
}

function isDefault(known: KnownClass | undefined, field: string, value: Json | undefined): boolean {
  const declared = known?.inputs.get(field);
  return declared !== undefined && sameValue(value, declared.options.default ?? declared.choices?.[0]);
}

function text(value: Json | undefined): string {
  return JSON.stringify(value, (_key, inner) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "nothing";
}

describe.skipIf(!PRESENT)("the editor's own result of each public pair", () => {
  const table: string[] = [];
  afterAll(() => {
    console.info(["pair                          nodes  differences", ...table].join("\n"));
  });

  it("has pairs to compare", () => expect(PAIRS.length).toBeGreaterThanOrEqual(12));

  it.each(PAIRS)("%s", (name) => {
    const document = read(`${name}.ui.json`);
    const ours = convert(document);
    const found = differences(name, ours, expectedOf(name));
    table.push(`${name.padEnd(30)}${String(Object.keys(ours).length).padStart(5)}  ${found.length}`);
    expect(found).toEqual([]);
  });

  it.each(PAIRS)("%s has nothing but what a server reads", (name) => {
    const keys = new Set(Object.values(convert(read(`${name}.ui.json`))).flatMap((node) => Object.keys(node ?? {})));
    expect([...keys].sort()).toEqual(["_meta", "class_type", "inputs"]);
  });

  it.each(PAIRS)(
    "%s offers callers at least the places that its API format offers, and the same outputs",
    async (name) => {
      const offered = async (document: JsonObject) => {
        const result = await importWorkflow({ text: stringifyExactJson(document) }, { objectInfo: customNodes });
        if (!result.ok) throw new Error(JSON.stringify(result));
        const { inputs, outputs } = result.workflow;
        return {
          places: inputs.flatMap((input) => input.targets.map(({ node, field }) => `${node}.${field}`)),
          outputs: outputs.map((output) => [output.name, output.node]),
        };
      };
      const fromEditor = await offered(read(`${name}.ui.json`));
      const fromApi = await offered(expectedOf(name));
      // What the author renamed or brought outside is told by the editor's format alone.
      expect(fromApi.places.filter((place) => !fromEditor.places.includes(place))).toEqual([]);
      expect(fromEditor.outputs).toEqual(fromApi.outputs);
    },
  );
});
