import { describe, expect, it } from "vitest";
import { releaseDiffLines } from "#cli/release-diff-text";
import type { ReleaseDiff } from "#contract/release";

const nothing = { added: [], removed: [], changed: [] };
const diff = (more: Partial<ReleaseDiff>): ReleaseDiff => ({
  from: 1,
  to: 2,
  same: false,
  inputs: nothing,
  outputs: nothing,
  nodes: nothing,
  classes: { added: [], removed: [] },
  models: { added: [], removed: [] },
  build: null,
  ...more,
});

describe("a diff for people", () => {
  it("shows what a build changes", () => {
    const names = { added: [], removed: [] };
    const lines = releaseDiffLines(
      diff({
        build: {
          from: null,
          to: "a".repeat(64),
          fields: [{ field: "baseComfyVersion", to: "0.33.0" }],
          custom_nodes: { added: ["one@1"], removed: [] },
          packages: names,
          models: { added: [], removed: ["vae/a.safetensors b"] },
        },
      }),
    );
    expect(lines).toEqual([
      "~ build none → aaaaaaaaaaaa",
      '    baseComfyVersion: none → "0.33.0"',
      "+ custom node one@1",
      "- model file vae/a.safetensors b",
    ]);
  });

  it("says that nothing differs", () => {
    expect(releaseDiffLines(diff({ same: true }))).toEqual(["Releases 1 and 2 are the same."]);
  });

  it("marks what came, went and changed, and shortens long texts", () => {
    const long = "x".repeat(200);
    const lines = releaseDiffLines(
      diff({
        inputs: {
          ...nothing,
          changed: [{ name: "seed", fields: [{ field: "maximum", from: 2n ** 64n - 1n, to: 5 }] }],
        },
        nodes: {
          added: [{ node: "10", class_type: "SaveImage" }],
          removed: [{ node: "3:1", class_type: "KSampler" }],
          changed: [{ node: "6", class_type: "CLIPTextEncode", fields: [{ field: "inputs.text", to: long }] }],
        },
        models: { added: ["loras/new.safetensors"], removed: [] },
      }),
    );
    expect(lines).toEqual([
      "~ input seed",
      "    maximum: 18446744073709551615 → 5",
      "+ node 10 SaveImage",
      "- node 3:1 KSampler",
      "~ node 6 CLIPTextEncode",
      `    inputs.text: none → "${"x".repeat(59)}…`,
      "+ model loras/new.safetensors",
    ]);
  });
});
