import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { problems } from "#contract/problems";
import { importsOf, type SourceFile, violationsOf, withoutComments, withoutStrings } from "#test/architecture-rules";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** What installs and builds leave; hidden folders are passed over as well. */
const NOT_SOURCE = ["node_modules", "dist", "coverage", "demo-output"];

/** TypeScript files of the repository, by what lies on the disk: a machine that runs the tests may have no git. */
function sourceFiles(): SourceFile[] {
  return readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => !entry.name.startsWith(".") && !NOT_SOURCE.includes(entry.name))
    .flatMap((entry) =>
      entry.isDirectory()
        ? readdirSync(`${ROOT}${entry.name}`, { recursive: true, encoding: "utf8" }).map(
            (path) => `${entry.name}/${path}`,
          )
        : [entry.name],
    )
    .filter((path) => path.endsWith(".ts"))
    .map((path) => ({ path, text: readFileSync(`${ROOT}${path}`, "utf8") }));
}

describe("the repository", () => {
  const files = sourceFiles();

  it("has files to check", () => {
    expect(files.length).toBeGreaterThan(50);
    expect(files.map(({ path }) => path)).toContain("contract/ids.ts");
  });

  it("keeps its rules about imports, pure folders and names", () => {
    expect(files.flatMap(violationsOf)).toEqual([]);
  });

  it("raises every problem that its table lists", () => {
    const raising = files.filter(({ path }) => /^(?:worker|durable-objects|workflow)\//.test(path));
    const silent = Object.keys(problems).filter((code) => !raising.some(({ text }) => text.includes(`"${code}"`)));
    expect(silent).toEqual([]);
  });

  it("imports only files that exist", () => {
    const paths = new Set(files.map(({ path }) => path));
    const missing = files.flatMap(({ path, text }) =>
      importsOf(withoutComments(text))
        .filter((imported) => imported.startsWith("#") && !paths.has(`${imported.slice(1)}.ts`))
        .map((imported) => `${path}: ${imported}`),
    );
    expect(missing).toEqual([]);
  });
});

describe("the rules", () => {
  it.each([
    ["contract/a.ts", 'import { x } from "#worker/app";', "must not import worker/app"],
    ["contract/a.ts", 'import type { x } from "hono";', "must not import hono"],
    ["workflow/a.ts", 'export { x, y } from "#gpu-agent/log";\nexport const z = 1;', "must not import gpu-agent/log"],
    [
      "durable-objects/queue/a.ts",
      'import { x } from "../endpoint/rpc.ts";',
      "must not import durable-objects/endpoint/rpc.ts",
    ],
    ["durable-objects/endpoint/a.ts", 'import { x } from "#worker/app";', "must not import worker/app"],
    ["durable-objects/endpoint/a.ts", 'import { x } from "node:fs";', "must not import node:fs"],
    ["gpu-agent/a.ts", 'const x = await import("#client/jobs");', "must not import client/jobs"],
    ["client/a.ts", 'import "node:fs";', "must not import node:fs"],
    ["client/a.ts", 'import {\n  x,\n} from "#cli/errors";', "must not import cli/errors"],
    ["cli/a.ts", 'import { x } from "#worker/catalog/endpoints";', "must not import worker/catalog/endpoints"],
    [
      "cli/a.ts",
      'import { x } from "#durable-objects/endpoint/demand";',
      "must not import durable-objects/endpoint/demand",
    ],
    ["cli/local/a.ts", 'import { x } from "../../client/jobs.ts";', "by a relative path"],
    ["cli/a.ts", 'import { x } from "./errors";', "without its ending"],
    ["contract/a.ts", "export const at = Date.now();", "uses Date.now"],
    ["contract/a.ts", "export const at = new Date();", "uses the current time"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sample is source text with a template.
    ["workflow/a.ts", "export const a = `${Math.random()}`;", "uses Math.random"],
    ["durable-objects/outbox/a.ts", "export const a = () => crypto.randomUUID();", "uses crypto"],
    ["durable-objects/outbox/a.ts", 'export const a = () => fetch("https://x");', "uses fetch"],
    ["durable-objects/replicas/a.ts", "export const a = () => setTimeout(() => {}, 1);", "uses a timer"],
    ["durable-objects/autoscaler/a.ts", "export const a = process.env.X;", "uses process"],
    [
      "worker/a.ts",
      '/** All. */\nexport * from "./app.ts";\nexport type { X } from "#contract/job";',
      "only re-exports",
    ],
    ["worker/utils.ts", "export const x = 1;", "nothing is called utils"],
    ["worker/helpers/a.ts", "export const x = 1;", "nothing is called helpers"],
    ["worker/JobView.ts", "export const x = 1;", "kebab-case"],
  ])("catch %s: %s", (path, text, expected) => {
    const broken = violationsOf({ path, text });
    expect(broken.join("\n")).toContain(expected);
  });

  it.each([
    [
      "cli/a.ts",
      'import { bootstrapStatements } from "#worker/catalog/bootstrap";\nexport const x = bootstrapStatements;',
    ],
    [
      "cli/simulate/a.ts",
      'import { replay } from "#durable-objects/autoscaler/replay/engine";\nexport const x = replay;',
    ],
    [
      "contract/a.ts",
      '// Date.now() is for shells.\n/* fetch("x") */\nexport const says = "Math.random()" + `process.env`;',
    ],
    [
      "contract/a.ts",
      "export const at = new Date(0), rx = /setTimeout(1)['\"`]/; export const prefetch = (x: { fetch: () => void }) => x.fetch();",
    ],
    ["durable-objects/queue/a.ts", 'import type { Job } from "#contract/job";\nexport type X = Job;'],
    ["test/a.test.ts", 'import { x } from "#worker/app";\nexport const at = Date.now() + x;'],
  ])("let pass %s: %s", (path, text) => {
    expect(violationsOf({ path, text })).toEqual([]);
  });

  it("see code inside a template, and none inside its text", () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sample is source text with templates.
    const text = "const a = `fetch( ${b(`x ${process.env.Y} }`)} // not a comment`; // fetch(";
    expect(withoutComments(text)).toContain("// not a comment`;");
    expect(withoutComments(text)).not.toContain("; // fetch(");
    expect(withoutStrings(withoutComments(text))).toMatch(/^[^f]*process\.env\.Y[^f]*$/);
  });
});
