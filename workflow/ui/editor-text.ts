/**
 * Text that the editor rewrites when somebody presses Run: comments and alternatives in prompts, and tokens in the
 * names of saved files. What it makes of them is what a release holds; where it would throw a die, the first side counts.
 */
import type { Json } from "#contract/exact-json";
import type { UiGraph, UiNode } from "./ui-graph.ts";

/** A text as the editor sends it, and what a person should know about that; undefined where nothing is worth saying. */
export interface SentText {
  readonly text: string;
  readonly note: string | undefined;
}

const ALTERNATIVES = /\{[^{}|]*\|[^{}]*\}/;

/** What is sent of a prompt. `field` is its name for the note. */
export function sentPrompt(field: string, text: string): SentText {
  const uncommented = withoutComments(text);
  const picked = firstAlternatives(uncommented);
  const notes = [
    ...(uncommented === text ? [] : [`"${field}" holds comments (// or /* */), which are left out as the editor does`]),
    ...(picked.chose
      ? [`"${field}" holds alternatives, as in {a|b}: the editor picks one each time, here the first counts`]
      : []),
  ];
  return { text: picked.text, note: notes.length === 0 ? undefined : `${notes.join("; ")}.` };
}

/** Of a prompt whose class nobody described: whether the editor would rewrite it depends on the class. */
export function possiblePrompt(field: string, text: string): SentText {
  const note = ALTERNATIVES.test(text)
    ? `"${field}" holds alternatives, as in {a|b}, which the editor may pick from; here the text stays as it is.`
    : undefined;
  return { text, note };
}

const LINE_END = /[\n\r\u2028\u2029]/g;

/** Without `// …` to the end of its line and without `/*` to its end; one that is never closed is none. */
function withoutComments(text: string): string {
  let sent = "";
  let from = 0;
  // Where no block ends any more, none is looked for again: a text of openings alone costs its length.
  let hasEnds = true;
  for (let at = text.indexOf("/"); at !== -1; at = text.indexOf("/", at + 1)) {
    const next = text.charAt(at + 1);
    let end = -1;
    if (next === "/") {
      LINE_END.lastIndex = at;
      end = LINE_END.exec(text)?.index ?? text.length;
    } else if (next === "*" && hasEnds) {
      const close = text.indexOf("*/", at + 2);
      hasEnds = close !== -1;
      if (hasEnds) end = close + 2;
    }
    if (end === -1) continue;
    sent += text.slice(from, at);
    from = end;
    at = end - 1;
  }
  return sent + text.slice(from);
}

/** The first of each `{a|b}`, nested ones too; a block that is never closed ends with the text. */
function firstAlternatives(text: string): { readonly text: string; readonly chose: boolean } {
  /** Whether what comes now is taken, for each open block and around them all. */
  const taken: boolean[] = [true];
  let sent = "";
  let chose = false;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charAt(at);
    const depth = taken.length - 1;
    const isTaken = taken[depth] === true;
    if (char === "\\") {
      at += 1;
      if (isTaken) sent += char + text.charAt(at);
    } else if (char === "{") taken.push(isTaken);
    else if (char === "}" && depth > 0) taken.pop();
    else if (char === "|" && depth > 0) {
      taken[depth] = false;
      chose = true;
    } else if (isTaken) sent += char;
  }
  return { text: sent.replace(/\\([{}|])/g, "$1"), chose };
}

/** Classes whose `filename_prefix` may hold tokens of the editor. */
const SAVERS: ReadonlySet<string> = new Set(
  (
    "SaveImage SaveImageAdvanced SaveSVGNode SaveVideo SaveAnimatedWEBP SaveWEBM SaveAudio SaveAudioMP3 SaveAudioOpus " +
    "SaveAudioAdvanced SaveGLB SaveAnimatedPNG CLIPSave VAESave ModelSave LoraSave SaveLatent"
  ).split(" "),
);
const TOKEN = /%([^%]+)%/g;
/** Parts of the editor's dates, and the tokens that ComfyUI itself fills at the time of the job. */
const DATE_PARTS = /yyyy|yy|MM?|dd?|hh?|mm?|ss?/g;
const SERVER_TOKENS: Readonly<Record<string, string>> = {
  y: "%year%",
  M: "%month%",
  d: "%day%",
  h: "%hour%",
  m: "%minute%",
  s: "%second%",
};
const NOT_IN_FILE_NAMES = /[/?<>\\:*|"\u0000-\u001f\u007f]/g;
/** Characters of one widget's value in a file's name: file systems end at 255 bytes. */
const TOKEN_VALUE_LENGTH_MAX = 200;
/** Property by which nodes are called in tokens; the title counts where no node has it. */
const SEARCH_NAME = "Node name for S&R";

/** True for a field in which {@link sentPrefix} replaces tokens. */
export function hasTokens(classType: string, field: string): boolean {
  return field === "filename_prefix" && SAVERS.has(classType);
}

/**
 * A file name's prefix: `%date:…%` becomes the server's own tokens, so that it is the date of the job and not of the
 * import; `%node.widget%` becomes the value in the workflow.
 */
export function sentPrefix(text: string, nodes: NodeNames): SentText {
  let hasDate = false;
  const missing: string[] = [];
  const sent = text.replace(TOKEN, (token: string, inner: string) => {
    const [name = "", widget, ...more] = inner.split(".");
    if (widget === undefined || more.length > 0) {
      if (!name.startsWith("date:")) return token;
      hasDate = true;
      return name.slice("date:".length).replace(DATE_PARTS, (part) => SERVER_TOKENS[part.charAt(0)] ?? part);
    }
    const value = nodes.valueOf(name, widget);
    if (value === undefined) missing.push(token);
    return value === undefined ? token : value.replace(NOT_IN_FILE_NAMES, "_");
  });
  const notes = [
    ...(hasDate ? ["the date in the prefix of its files is that of each job, with ComfyUI's own tokens"] : []),
    ...(missing.length === 0 ? [] : [`no node has what ${missing.slice(0, 3).join(", ")} stands for`]),
  ];
  return { text: sent, note: notes.length === 0 ? undefined : `${notes.join("; ")}.` };
}

/** Finds widgets by the names that tokens use. Nodes are looked through once, when the first token asks. */
export class NodeNames {
  readonly #graph: UiGraph;
  readonly #shown: (node: UiNode, widget: string) => Json | undefined;
  #byName: ReadonlyMap<string, UiNode> | undefined;

  /** `shown` tells the value of a node's widget; it is asked once for each token. */
  constructor(graph: UiGraph, shown: (node: UiNode, widget: string) => Json | undefined) {
    this.#graph = graph;
    this.#shown = shown;
  }

  /** A widget's value as text; undefined where there is no such node, or it has no such value. */
  valueOf(name: string, widget: string): string | undefined {
    this.#byName ??= namesOf(this.#graph);
    const node = this.#byName.get(name);
    const value = node === undefined ? undefined : this.#shown(node, widget);
    if (value === undefined || value === null || typeof value === "object") return undefined;
    return String(value).slice(0, TOKEN_VALUE_LENGTH_MAX);
  }
}

function namesOf(graph: UiGraph): ReadonlyMap<string, UiNode> {
  const found = new Map<string, UiNode>();
  const titles = new Map<string, UiNode>();
  for (const node of graph.nodes.values()) {
    const name = node.properties[SEARCH_NAME];
    if (typeof name === "string" && !found.has(name)) found.set(name, node);
    const title = node.title ?? node.type;
    if (!titles.has(title)) titles.set(title, node);
  }
  return new Map([...titles, ...found]);
}
