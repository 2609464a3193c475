/** The repository's rules about files and imports, as functions of source text. */

export interface SourceFile {
  /** Below the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** Who may import whom: the arrows never turn back. Longer prefixes go before shorter ones. */
const ARROWS: readonly (readonly [folder: string, mayImport: readonly string[]])[] = [
  ["contract/", ["contract/"]],
  ["workflow/", ["contract/", "workflow/"]],
  ["durable-objects/queue/", ["contract/", "durable-objects/queue/"]],
  ["durable-objects/replicas/", ["contract/", "durable-objects/replicas/"]],
  ["durable-objects/autoscaler/", ["contract/", "durable-objects/autoscaler/"]],
  ["durable-objects/outbox/", ["contract/", "durable-objects/outbox/"]],
  // worker/env.ts is the list of bindings, types alone: objects are constructed with it.
  ["durable-objects/", ["contract/", "durable-objects/", "migrations/", "worker/env"]],
  ["worker/", ["contract/", "workflow/", "durable-objects/", "migrations/", "worker/"]],
  ["gpu-agent/", ["contract/", "workflow/", "gpu-agent/"]],
  ["client/", ["contract/", "client/"]],
  // The autoscaler is pure, as workflow/ is: the simulator runs here what an endpoint runs there.
  ["cli/", ["contract/", "workflow/", "durable-objects/autoscaler/", "client/", "cli/", "worker/catalog/bootstrap"]],
  ["migrations/", ["contract/", "migrations/"]],
];

/** Packages a folder may import; those not listed may import any that is installed. */
const PACKAGES: readonly (readonly [folder: string, packages: RegExp])[] = [
  ["contract/", /^zod$/],
  // Other tools keep their builds in YAML.
  ["workflow/build/", /^(zod|yaml)$/],
  ["workflow/", /^zod$/],
  ["durable-objects/queue/", /^zod$/],
  ["durable-objects/replicas/", /^zod$/],
  ["durable-objects/autoscaler/", /^zod$/],
  ["durable-objects/outbox/", /^zod$/],
  ["client/", /^zod$/],
  ["worker/", /^(?!node:)/],
  ["durable-objects/", /^(?!node:)/],
];

/** Folders without clock, chance, storage and network. */
const PURE = /^(?:contract|workflow|durable-objects\/(?:queue|replicas|autoscaler|outbox))\//;
const IMPURE: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["Date.now", /\bDate\s*\.\s*now\b/],
  ["the current time", /\bnew\s+Date\s*(?:\(\s*\)|(?![\s(\w]))/],
  ["Math.random", /\bMath\s*\.\s*random\b/],
  // A digest follows from its bytes alone; keys and random bytes do not.
  ["crypto", /(?<![.\w])crypto\s*\.(?!\s*subtle\s*\.\s*digest\b)/],
  ["performance", /(?<![.\w])performance\s*\./],
  ["fetch", /(?<![.\w])fetch\s*\(/],
  ["a timer", /(?<![.\w])(?:setTimeout|setInterval|setImmediate|queueMicrotask)\s*\(/],
  ["process", /(?<![.\w])process\s*\./],
  ["globalThis", /(?<![.\w])globalThis\b/],
];

const BANNED_NAMES = /^(?:utils?|helpers?|common|managers?|misc|shared|index|lib)$/;

/** Every rule a file breaks, in sentences; none for a good file. */
export function violationsOf(file: SourceFile): string[] {
  const { path } = file;
  const broken: string[] = [];
  const say = (what: string) => broken.push(`${path}: ${what}`);
  const code = withoutComments(file.text);

  for (const imported of importsOf(code)) {
    const target = resolveImport(path, imported);
    if (target === null) {
      const rule = PACKAGES.find(([folder]) => path.startsWith(folder));
      if (rule !== undefined && !rule[1].test(imported)) say(`must not import ${imported}`);
      continue;
    }
    const arrow = ARROWS.find(([folder]) => path.startsWith(folder));
    // Files of the repository's root (package.json) belong to nobody.
    const isInAFolder = target.includes("/");
    if (arrow !== undefined && isInAFolder && !arrow[1].some((folder) => target.startsWith(folder))) {
      say(`must not import ${target}`);
    }
    if (imported.startsWith(".") && isInAFolder && topOf(target) !== topOf(path)) {
      say(`imports ${target} by a relative path; across folders it is #${target}`);
    }
    if (imported.startsWith(".") && !/\.(?:ts|json)$/.test(imported)) say(`imports ${imported} without its ending`);
  }

  if (PURE.test(path)) {
    const bare = withoutStrings(code);
    for (const [what, pattern] of IMPURE) if (pattern.test(bare)) say(`is pure, but uses ${what}`);
  }
  if (isOnlyReExports(code)) say("only re-exports; import from the file that defines the thing");

  const name = path.slice(path.lastIndexOf("/") + 1).replace(/(?:\.test|\.config|\.d)?\.ts$/, "");
  if (BANNED_NAMES.test(name)) say(`nothing is called ${name}`);
  for (const segment of path.split("/").slice(0, -1)) {
    if (BANNED_NAMES.test(segment)) say(`nothing is called ${segment}`);
  }
  if (!/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name)) say("file names are kebab-case");
  return broken;
}

/** What a file imports, statically or not, types included. */
export function importsOf(code: string): string[] {
  const patterns = [
    /^\s*(?:import|export)\s[^"'`;]*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\bimport\s*\(\s*["']([^"']+)["']/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** Where an import leads, below the repository; null for a package. */
function resolveImport(from: string, imported: string): string | null {
  if (imported.startsWith("#")) return imported.slice(1);
  if (!imported.startsWith(".")) return null;
  const parts = from.split("/").slice(0, -1);
  for (const part of imported.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

const topOf = (path: string): string => path.slice(0, path.indexOf("/"));

function isOnlyReExports(code: string): boolean {
  const rest = code.replace(
    /\bexport\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s+from\s*["'][^"']+["']\s*;?/g,
    "",
  );
  return rest.trim() === "" && code.trim() !== "";
}

/** The code with comments blanked; strings, templates and regular expressions are left as they are. */
export function withoutComments(text: string): string {
  return scan(text, { keepStrings: true });
}

/** The code with the content of strings and regular expressions blanked; code inside a template's `${}` stays. */
export function withoutStrings(text: string): string {
  return scan(text, { keepStrings: false });
}

/** After these, a slash begins a regular expression and not a division. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of|do|else|await|yield))\s*$/;

function scan(text: string, { keepStrings }: { readonly keepStrings: boolean }): string {
  let out = "";
  let at = 0;
  /** Braces opened inside each template expression that is open now. */
  const templates: number[] = [];
  const literal = (end: number): void => {
    const source = text.slice(at, end);
    out += keepStrings ? source : `${source[0]}${source.at(-1)}`;
    at = end;
  };
  const template = (): void => {
    const start = at;
    at += 1;
    while (at < text.length && text[at] !== "`" && !text.startsWith("${", at)) at += text[at] === "\\" ? 2 : 1;
    const opensExpression = text.startsWith("${", at);
    at += opensExpression ? 2 : 1;
    out += keepStrings ? text.slice(start, at) : opensExpression ? " (" : " ";
    if (opensExpression) templates.push(0);
  };
  while (at < text.length) {
    const here = text[at] ?? "";
    const depth = templates.at(-1);
    if (text.startsWith("//", at)) {
      const end = text.indexOf("\n", at);
      at = end === -1 ? text.length : end;
    } else if (text.startsWith("/*", at)) {
      const end = text.indexOf("*/", at + 2);
      at = end === -1 ? text.length : end + 2;
    } else if (here === '"' || here === "'") {
      let end = at + 1;
      while (end < text.length && text[end] !== here) end += text[end] === "\\" ? 2 : 1;
      literal(end + 1);
    } else if (here === "`") {
      template();
    } else if (here === "/" && BEFORE_REGEX.test(out.slice(-40))) {
      let end = at + 1;
      let inClass = false;
      while (end < text.length && text[end] !== "\n" && (inClass || text[end] !== "/")) {
        if (text[end] === "[") inClass = true;
        if (text[end] === "]") inClass = false;
        end += text[end] === "\\" ? 2 : 1;
      }
      literal(end + 1);
    } else if (depth !== undefined && here === "{") {
      templates[templates.length - 1] = depth + 1;
      out += here;
      at += 1;
    } else if (depth !== undefined && here === "}") {
      if (depth === 0) {
        templates.pop();
        // The template goes on behind its expression.
        template();
      } else {
        templates[templates.length - 1] = depth - 1;
        out += here;
        at += 1;
      }
    } else {
      out += here;
      at += 1;
    }
  }
  return out;
}
