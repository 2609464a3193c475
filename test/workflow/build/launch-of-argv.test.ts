import { expect, it } from "vitest";
import { launchOfArgv } from "#workflow/build/launch-of-argv";

it.each([
  [["main.py"], [], "default"],
  [["/a/main.py", "--lowvram", "--reserve-vram", "1.5"], ["--lowvram", "--reserve-vram", "1.5"], "default"],
  [["main.py", "--cache-none"], [], "none"],
  [["main.py", "--cache-classic", "--fast"], ["--fast"], "classic"],
  [["main.py", "--cache-lru", "10"], ["--cache-lru", "10"], "lru"],
  [["main.py", "--cache-ram=4"], ["--cache-ram=4"], "ram"],
  [["main.py", "--fast", "fp16", "autotune"], ["--fast", "fp16", "autotune"], "default"],
] as const)(
  "%j is kept as %j, cache %s",
  (argv, flags, cache) => void expect(launchOfArgv(argv)).toEqual({ launch: { flags, cache }, leftOut: [] }),
);

it("leaves out what belongs to one machine, with its values", () => {
  const argv = ["main.py", "--listen", "--port=8188", "--output-directory", "/home/me/out", "--cpu", "--lowvram"];
  expect(launchOfArgv(argv)).toEqual({
    launch: { flags: ["--lowvram"], cache: "default" },
    leftOut: ["--listen", "--port", "--output-directory", "--cpu"],
  });
});

it("keeps no more words than a build may have", () => {
  const argv = Array.from({ length: 60 }, (_, at) => `--flag-${at}`);
  const { launch, leftOut } = launchOfArgv([...argv, `--long=${"x".repeat(300)}`]);
  expect([launch.flags.length, leftOut.length]).toEqual([50, 11]);
});
