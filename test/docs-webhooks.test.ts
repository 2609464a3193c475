import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { secretBytes } from "#durable-objects/outbox/signed-content";
import { deploymentKey, signedHeaders } from "#durable-objects/webhooks/signer";

/** The snippets that callers copy, taken from the page itself. */
const page = readFileSync(new URL("../docs/callers.md", import.meta.url), "utf8");
const snippet = (language: string, mark: string): string => {
  const blocks = [...page.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map(
    ([, code]) => code ?? "",
  );
  const found = blocks.find((code) => code.includes(mark));
  if (found === undefined) throw new Error(`docs/callers.md has no ${language} snippet with ${mark}`);
  return found;
};

const folder = mkdtempSync(join(tmpdir(), "pilotlight-docs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SECRET = "whsec_BUJJBolOUXAJh6VMG827MCMrI1pO+eSS";
const OTHER = "whsec_uDIS9/MjbfmM/uTSjFHYc7m2AGYRbgCwJ3mOKkhahaI=";
const BODY = '{"type":"job.failed","data":{"error":"naïve café — 猫🐈"}}';
const now = Math.floor(Date.now() / 1_000);
const signed = async (
  secrets: readonly string[],
  message: { id?: string; timestampS?: number; body?: string } = {},
) => {
  const { id = "msg_0dpx4n3m8k7q2wz6tgr1vyc5ha_4", timestampS = now, body = BODY } = message;
  const key = await deploymentKey("a secret of the test run, 32 bytes or more");
  return signedHeaders({ id, timestampS, body }, secrets.map(secretBytes), key);
};

interface Case {
  readonly headers: Record<string, string>;
  readonly body: string;
}

function typescript(cases: readonly Case[]): boolean[] {
  const file = join(folder, "verified.ts");
  const driver = `
const cases = JSON.parse(process.argv[2] ?? "[]") as { headers: Record<string, string>; body: string }[];
const judged = cases.map(({ headers, body }) => {
  try {
    return (verified(${JSON.stringify(SECRET)}, headers, body) as { type: string }).type === "job.failed";
  } catch {
    return false;
  }
});
console.log(JSON.stringify(judged));
`;
  writeFileSync(file, snippet("ts", "timingSafeEqual") + driver);
  return run(process.execPath, [file, JSON.stringify(cases)]);
}

function python(cases: readonly Case[]): boolean[] {
  const file = join(folder, "verified.py");
  const driver = `
import sys
def judged(one):
    try:
        return verified(${JSON.stringify(SECRET)}, one["headers"], one["body"].encode())["type"] == "job.failed"
    except ValueError:
        return False
print(json.dumps([judged(one) for one in json.loads(sys.argv[1])]))
`;
  writeFileSync(file, snippet("python", "compare_digest") + driver);
  return run("python3", [file, JSON.stringify(cases)]);
}

function run(program: string, args: readonly string[]): boolean[] {
  const { stdout, stderr, status } = spawnSync(program, [...args], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as boolean[];
}

const LANGUAGES = [["TypeScript", typescript] as const, ["Python", python] as const].filter(
  ([name]) => name !== "Python" || spawnSync("python3", ["--version"]).status === 0,
);

describe("the snippets that verify webhooks", () => {
  it.each(LANGUAGES)("in %s take what we sign and nothing else", async (_name, judge) => {
    const good = await signed([SECRET]);
    const moved = await signed([SECRET], { id: "msg_x", timestampS: 1, body: `${now}.${BODY}` });
    const cases: readonly [string, Case, boolean][] = [
      ["good", { headers: good, body: BODY }, true],
      ["rotation, the other one first", { headers: await signed([OTHER, SECRET]), body: BODY }, true],
      ["another secret", { headers: await signed([OTHER]), body: BODY }, false],
      ["another body", { headers: good, body: `${BODY} ` }, false],
      ["another id", { headers: { ...good, "webhook-id": "msg_other" }, body: BODY }, false],
      ["too old", { headers: await signed([SECRET], { timestampS: now - 400 }), body: BODY }, false],
      ["from the future", { headers: await signed([SECRET], { timestampS: now + 400 }), body: BODY }, false],
      ["no signature", { headers: { ...good, "webhook-signature": "" }, body: BODY }, false],
      ["no timestamp", { headers: { ...good, "webhook-timestamp": "now" }, body: BODY }, false],
      [
        "the border between id and time moved",
        { headers: { ...moved, "webhook-id": "msg_x.1", "webhook-timestamp": String(now) }, body: BODY },
        false,
      ],
    ];
    const verdicts = judge(cases.map(([, one]) => one));
    expect(cases.map(([name], index) => [name, verdicts[index]])).toEqual(cases.map(([name, , want]) => [name, want]));
  });
});
