import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { civitaiAddress, hfAddress, parseModelSource, shownSource, suggestedFilename } from "#contract/model-source";

describe("a model's source", () => {
  it.each([
    ["https://host.example/a.safetensors?x=1", { kind: "https", url: "https://host.example/a.safetensors?x=1" }],
    [
      "hf:owner/name@main/dir/a.safetensors",
      { kind: "hf", repository: "owner/name", revision: "main", path: "dir/a.safetensors" },
    ],
    [
      `hf:o/n.x-y@${"0".repeat(40)}/a+b@c.safetensors`,
      { kind: "hf", repository: "o/n.x-y", revision: "0".repeat(40), path: "a+b@c.safetensors" },
    ],
    ["civitai:128713", { kind: "civitai", version: "128713" }],
  ])("%s is understood", (text, origin) => {
    expect(parseModelSource(text)).toEqual(origin);
  });

  it.each([
    "",
    "ftp://host.example/a",
    "file:///etc/passwd",
    "hf:owner/name/a.safetensors",
    "hf:owner/name@main/",
    "hf:owner@main/a.safetensors",
    "hf:owner/name@main/../../../api/token",
    "hf:owner/name@main/a//b",
    "hf:owner/name@main/a?token=1",
    "hf:owner/../name@main/a",
    "hf:owner/name@../a/b",
    "civitai:",
    "civitai:12x",
    "civitai:1/../../x",
    "registry:",
    "https://host.example/a b",
  ])("%j is none", (text) => {
    expect(parseModelSource(text)).toBeNull();
  });

  it("of Hugging Face and Civitai never leads to another host or out of its path, whatever it holds", () => {
    fc.assert(
      fc.property(fc.constantFrom("hf:owner/name@main/", "hf:", "civitai:"), fc.string(), (start, rest) => {
        const origin = parseModelSource(start + rest);
        if (origin === null || origin.kind === "https") return;
        const address =
          origin.kind === "hf"
            ? hfAddress("https://huggingface.co", origin)
            : civitaiAddress("https://civitai.com", origin);
        const url = new URL(address);
        const [host, path] =
          origin.kind === "hf"
            ? ["huggingface.co", `/${origin.repository}/resolve/`]
            : ["civitai.com", "/api/v1/model-versions/"];
        expect(url.host).toBe(host);
        expect(url.pathname.startsWith(path)).toBe(true);
        expect([url.search, url.hash, url.username]).toEqual(["", "", ""]);
      }),
    );
  });

  it("has an address with every part of its path percent-encoded", () => {
    const origin = parseModelSource("hf:owner/name@v1.0/dir/a+b%20c.safetensors");
    if (origin?.kind !== "hf") throw new Error("it is of Hugging Face");
    expect(hfAddress("https://mirror.example", origin)).toBe(
      "https://mirror.example/owner/name/resolve/v1.0/dir/a%2Bb%2520c.safetensors",
    );
  });

  it("is shown without what may be a token", () => {
    expect(shownSource("https://host.example/a?token=secret#x")).toBe("https://host.example/a");
    expect(shownSource("hf:owner/name@main/a.safetensors")).toBe("hf:owner/name@main/a.safetensors");
  });

  it.each([
    ["https://host.example/dir/a%20b.safetensors?x=1", "a b.safetensors"],
    ["hf:owner/name@main/dir/a.safetensors", "a.safetensors"],
    ["https://host.example/", undefined],
    ["https://host.example/%ff", undefined],
    ["civitai:1", undefined],
    ["nonsense", undefined],
  ])("%s suggests the name %s", (text, name) => {
    expect(suggestedFilename(text)).toBe(name);
  });
});
