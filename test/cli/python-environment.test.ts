import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { readPython } from "#cli/scan/python-environment";
import { PipRequirement } from "#contract/build";

const hasPip = spawnSync("python3", ["-m", "pip", "--version"]).status === 0;

it.skipIf(!hasPip)("a real interpreter says its version and what is installed, PYTHONPATH aside", async () => {
  const env = { ...process.env, PYTHONPATH: import.meta.dirname };
  const { version, os, arch, lock } = await readPython("python3", env, new AbortController().signal);
  expect([os, arch]).toEqual([process.platform, process.arch]);
  const said = spawnSync("python3", ["-c", "import platform; print(platform.python_version())"], { encoding: "utf8" });
  expect(version).toBe(said.stdout.trim());
  // Folders that somebody develops in are no part of a lock, and are reported as such.
  for (const line of lock.lines.filter((each) => !each.startsWith("-e ")))
    expect([line, PipRequirement.safeParse(line).success]).toEqual([line, true]);
});

it("a program that is no interpreter is refused", async () => {
  const { signal } = new AbortController();
  await expect(readPython("true", process.env, signal)).rejects.toThrow("it does not answer as Python does");
});
