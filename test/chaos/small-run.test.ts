import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { VIOLATION_KINDS } from "./check.ts";

const JOBS = 40;
const RUN_MS_MAX = 300_000;
const ASKED = {
  "--jobs": JOBS,
  "--seed": 3,
  "--kills-workerd": 2,
  "--kills-agent": 2,
  "--kills-stand-in": 2,
  "--zombies": 1,
  "--cuts": 2,
};

/** The command as an operator gives it. How quickly a busy machine recovers is its exit code's business, not a test's. */
async function chaos(): Promise<{ stdout: string; stderr: string }> {
  const program = new URL("./main.ts", import.meta.url).pathname;
  const args = Object.entries(ASKED).flatMap(([name, value]) => [name, String(value)]);
  try {
    return await promisify(execFile)(process.execPath, ["--disable-warning=ExperimentalWarning", program, ...args]);
  } catch (error) {
    return error as { stdout: string; stderr: string };
  }
}

describe("a small chaos run", () => {
  it(
    "loses nothing, doubles nothing and tells of everything",
    async () => {
      const { stdout, stderr } = await chaos();
      const last = stdout.trim().split("\n").at(-1) ?? "";
      const counts = Object.fromEntries(
        [...last.matchAll(/([a-z_]+)=([0-9]+)/g)].map(([, name, value]) => [name, Number(value)]),
      );
      expect(counts, stderr).toMatchObject({ jobs: JOBS, kills: 6, zombies: 1, cuts: 2, expired: 0 });
      expect(counts.succeeded + counts.failed + counts.canceled, stderr).toBe(JOBS);
      for (const kind of VIOLATION_KINDS) expect(counts[kind], `${kind}\n${stderr}`).toBe(0);
    },
    RUN_MS_MAX,
  );
});
