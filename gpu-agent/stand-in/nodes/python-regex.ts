/**
 * Python's regular expressions, translated to this language's. ComfyUI's regex nodes take Python's syntax, and prompts
 * are written against it.
 */
import { NodeError } from "../node.ts";

export interface RegexFlags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
}

const WORD = "\\p{L}\\p{N}_";
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const WORD_EDGE = `(?:(?<=[${WORD}])(?![${WORD}])|(?<![${WORD}])(?=[${WORD}]))`;
const NOT_WORD_EDGE = `(?:(?<=[${WORD}])(?=[${WORD}])|(?<![${WORD}])(?![${WORD}]))`;
const START = "(?<![^])";
const END = "(?![^])";

/** Escapes that stand for a set of characters, as they are written inside and outside brackets. */
const SETS: Readonly<Record<string, string>> = {
  d: "\\p{Nd}",
  D: "\\P{Nd}",
  w: `[${WORD}]`,
  W: `[^${WORD}]`,
  s: `[${SPACE}]`,
  S: `[^${SPACE}]`,
};
const CHARACTERS: Readonly<Record<string, string>> = {
  a: "\u0007",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const EDGES: Readonly<Record<string, string>> = { A: START, Z: END, b: WORD_EDGE, B: NOT_WORD_EDGE };

function fail(message: string, at: number): never {
  throw new NodeError("re.error", `${message} at position ${at}`);
}

/** A character that means only itself, inside or outside brackets. */
function literal(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return /[A-Za-z0-9]/.test(character) || code > 0x7f ? character : `\\u{${code.toString(16)}}`;
}

/**
 * @returns a global pattern that finds what Python's would
 * @throws NodeError re.error for a pattern Python refuses, or one that cannot be translated
 */
export function pythonRegex(pattern: string, flags: RegexFlags): RegExp {
  const translated = new Translator(pattern, flags);
  const source = translated.run();
  try {
    return new RegExp(source, `gv${translated.flags.ignoreCase ? "i" : ""}`);
  } catch (cause) {
    throw new NodeError("re.error", cause instanceof Error ? cause.message : "bad pattern");
  }
}

class Translator {
  readonly #pattern: string;
  #at = 0;
  flags: RegexFlags;

  constructor(pattern: string, flags: RegexFlags) {
    this.#pattern = pattern;
    this.flags = flags;
  }

  run(): string {
    // Flags for the whole pattern may stand only at its start.
    const global = /^\(\?([aiLmsux]+)\)/.exec(this.#pattern);
    if (global !== null) {
      const letters = global[1] ?? "";
      if (letters.includes("x")) fail("verbose patterns are not supported", 0);
      this.#at = global[0].length;
      this.flags = {
        ignoreCase: this.flags.ignoreCase || letters.includes("i"),
        multiline: this.flags.multiline || letters.includes("m"),
        dotAll: this.flags.dotAll || letters.includes("s"),
      };
    }
    let out = "";
    while (this.#at < this.#pattern.length) out += this.#next();
    return out;
  }

  #next(): string {
    const character = String.fromCodePoint(this.#pattern.codePointAt(this.#at) ?? 0);
    switch (character) {
      case "\\":
        return this.#escape();
      case "[":
        return this.#set();
      case "(":
        return this.#group();
      case "{":
        return this.#repeat();
      default:
        this.#at += character.length;
    }
    switch (character) {
      case ".":
        return this.flags.dotAll ? "[^]" : "[^\\n]";
      case "^":
        return this.flags.multiline ? `(?<=\\n|${START})` : START;
      case "$":
        return this.flags.multiline ? `(?=\\n|${END})` : `(?=\\n?${END})`;
      case ")":
      case "|":
      case "*":
      case "+":
      case "?":
        return character;
      default:
        return literal(character);
    }
  }

  #group(): string {
    const rest = this.#pattern.slice(this.#at);
    const named = /^\(\?P<([A-Za-z_]\w*)>/.exec(rest);
    const back = /^\(\?P=([A-Za-z_]\w*)\)/.exec(rest);
    const comment = /^\(\?#[^)]*\)/.exec(rest);
    const plain = /^\((?:\?(?::|=|!|<=|<!))?/.exec(rest);
    const take = (match: RegExpExecArray, out: string) => {
      this.#at += match[0].length;
      return out;
    };
    if (named !== null) return take(named, `(?<${named[1] ?? ""}>`);
    if (back !== null) return take(back, `\\k<${back[1] ?? ""}>`);
    if (comment !== null) return take(comment, "");
    if (plain === null || (plain[0] === "(" && rest[1] === "?")) fail("unknown extension", this.#at);
    return take(plain, plain[0]);
  }

  /** `{2,3}` repeats; a brace that is nothing of the kind is a brace. */
  #repeat(): string {
    const match = /^\{(?:(\d+)|(\d*),(\d*))\}/.exec(this.#pattern.slice(this.#at));
    if (match === null) {
      this.#at += 1;
      return literal("{");
    }
    this.#at += match[0].length;
    return match[1] === undefined ? `{${match[2] || "0"},${match[3] ?? ""}}` : match[0];
  }

  #escape(): string {
    const start = this.#at;
    const rest = this.#pattern.slice(start + 1);
    const edge = EDGES[rest[0] ?? ""];
    if (edge !== undefined) {
      this.#at += 2;
      return edge;
    }
    const reference = /^[1-9]\d?/.exec(rest);
    if (reference !== null && !/^[0-3][0-7]{2}/.test(rest)) {
      this.#at += 1 + reference[0].length;
      return `(?:\\${reference[0]})`;
    }
    return this.#character();
  }

  /** An escape that stands for one character or a set; the same inside and outside brackets. */
  #character(): string {
    const start = this.#at;
    const rest = this.#pattern.slice(start + 1);
    const letter = rest[0];
    if (letter === undefined) fail("bad escape (end of pattern)", start);
    const code = /^(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))/.exec(rest);
    if (code !== null) {
      this.#at += 1 + code[0].length;
      return literal(String.fromCodePoint(Number.parseInt(code[1] ?? code[2] ?? code[3] ?? "0", 16)));
    }
    const octal = /^(?:0[0-7]{0,2}|[0-3][0-7]{2})/.exec(rest);
    if (octal !== null) {
      this.#at += 1 + octal[0].length;
      return literal(String.fromCodePoint(Number.parseInt(octal[0], 8)));
    }
    this.#at += 2;
    const set = SETS[letter];
    if (set !== undefined) return set;
    const character = CHARACTERS[letter];
    if (character !== undefined) return literal(character);
    if (/[A-Za-z0-9]/.test(letter)) fail(`bad escape \\${letter}`, start);
    return literal(letter);
  }

  #set(): string {
    const start = this.#at;
    this.#at += 1;
    let out = "[";
    if (this.#pattern[this.#at] === "^") {
      out = "[^";
      this.#at += 1;
    }
    for (let first = true; ; first = false) {
      const character = this.#pattern[this.#at];
      if (character === undefined) fail("unterminated character set", start);
      if (character === "]" && !first) break;
      if (character === "\\") out += this.#character();
      else if (character === "-" && !first && this.#pattern[this.#at + 1] !== "]") {
        out += "-";
        this.#at += 1;
      } else {
        const whole = String.fromCodePoint(this.#pattern.codePointAt(this.#at) ?? 0);
        out += literal(whole);
        this.#at += whole.length;
      }
    }
    this.#at += 1;
    return `${out}]`;
  }
}

/**
 * Python's `re.sub`: `\1`, `\g<1>` and `\g<name>` in the replacement stand for groups.
 * @param count replacements at most; 0 for all
 * @throws NodeError re.error for a replacement Python refuses
 */
export function pythonReplace(regex: RegExp, replacement: string, text: string, count: number): string {
  const parts = replacementParts(replacement);
  let done = 0;
  let out = "";
  let from = 0;
  for (const match of text.matchAll(regex)) {
    if (count > 0 && done === count) break;
    out += text.slice(from, match.index) + parts.map((part) => part(match)).join("");
    from = match.index + match[0].length;
    done += 1;
  }
  return out + text.slice(from);
}

function replacementParts(replacement: string): ((match: RegExpMatchArray) => string)[] {
  const parts: ((match: RegExpMatchArray) => string)[] = [];
  const numbered = (number: number) => (match: RegExpMatchArray) => {
    if (number >= match.length) throw new NodeError("re.error", `invalid group reference ${number}`);
    return match[number] ?? "";
  };
  for (const [whole, group, digits, other] of replacement.matchAll(/\\g<([^>]*)>|\\(\d{1,2})|\\([\s\S]?)|[^\\]+/g)) {
    if (group !== undefined) {
      parts.push(/^\d+$/.test(group) ? numbered(Number(group)) : (match) => match.groups?.[group] ?? "");
    } else if (digits !== undefined) {
      const isOctal = digits.startsWith("0");
      parts.push(isOctal ? () => String.fromCodePoint(Number.parseInt(digits, 8)) : numbered(Number(digits)));
    } else if (other !== undefined) {
      const character = CHARACTERS[other];
      if (character === undefined && /[A-Za-z]/.test(other)) throw new NodeError("re.error", `bad escape \\${other}`);
      parts.push(() => character ?? (other === "\\" ? "\\" : `\\${other}`));
    } else parts.push(() => whole);
  }
  return parts;
}
