import { describe, expect, it } from "vitest";
import { parseCommandLine } from "#gpu-agent/stand-in/command-line";
import { settingsOf } from "./server-under-test.ts";

function refusal(...argv: string[]): string {
  const parsed = parseCommandLine(argv);
  return parsed.type === "refused" ? (parsed.text.split("error: ")[1]?.trim() ?? "") : parsed.type;
}

describe("the command line", () => {
  it("has ComfyUI's defaults", () => {
    const parsed = parseCommandLine([]);
    expect(parsed).toMatchObject({
      type: "run",
      settings: {
        generation: "0.3.64",
        addresses: ["127.0.0.1"],
        port: 8188,
        bodyBytesMax: 104_857_600,
        cache: { kind: "classic" },
        previews: false,
      },
    });
  });

  it("takes values after a space or an equals sign", () => {
    expect(settingsOf("--max-upload-size", "0.5").bodyBytesMax).toBe(524_288);
    expect(settingsOf("--max-upload-size=2").bodyBytesMax).toBe(2_097_152);
  });

  it("listens everywhere for a bare --listen", () => {
    expect(settingsOf("--listen").addresses).toEqual(["0.0.0.0", "::"]);
    expect(settingsOf("--listen", "127.0.0.2,127.0.0.3").addresses).toEqual(["127.0.0.2", "127.0.0.3"]);
  });

  it("accepts flags that steer a GPU and changes nothing for them", () => {
    const flags = [
      "--highvram",
      "--fast",
      "fp16_accumulation",
      "cublas_ops",
      "--reserve-vram",
      "2",
      "--verbose",
      "DEBUG",
    ];
    const { faults: _faults, ...settings } = settingsOf(...flags);
    const { faults: _others, ...plain } = settingsOf();
    expect(settings).toEqual(plain);
  });

  it("knows which generation has which flag", () => {
    expect(refusal("--normalvram")).toBe("run");
    expect(refusal("--generation", "newer", "--normalvram")).toBe("unrecognized arguments: --normalvram");
    expect(refusal("--enable-assets")).toBe("unrecognized arguments: --enable-assets");
    expect(refusal("--generation=newer", "--enable-assets")).toBe("run");
  });

  it("chooses the cache", () => {
    expect(settingsOf("--cache-lru", "5").cache).toEqual({ kind: "lru", entriesMax: 5 });
    expect(settingsOf("--cache-none").cache).toEqual({ kind: "none" });
    expect(settingsOf("--generation", "newer").cache.kind).toBe("lru");
    expect(settingsOf("--generation", "newer", "--cache-classic").cache).toEqual({ kind: "classic" });
  });

  it.each([
    [["--bogus", "--port", "1", "extra"], "unrecognized arguments: --bogus extra"],
    [["--port"], "argument --port: expected one argument"],
    [["--port", "abc"], "argument --port: invalid int value: 'abc'"],
    [["--max-upload-size", "x"], "argument --max-upload-size: invalid float value: 'x'"],
    [["--cpu=1"], "argument --cpu: ignored explicit argument '1'"],
    [["--cache-none", "--cache-lru", "3"], "argument --cache-none: not allowed with argument --cache-lru"],
    [["--generation", "1.0"], "argument --generation: invalid choice: '1.0' (choose from '0.3.64', 'newer')"],
    [
      ["--preview-method", "best"],
      "argument --preview-method: invalid choice: 'best' (choose from 'none', 'auto', 'latent2rgb', 'taesd')",
    ],
    [["--user-directory", "/no/such/folder"], "argument --user-directory: The path '/no/such/folder' does not exist."],
    [["--whitelist-custom-nodes"], "argument --whitelist-custom-nodes: expected at least one argument"],
    [
      ["--fault-crash", "never"],
      "argument --fault-crash: invalid choice: 'never' (choose from 'prompt_start', 'mid_node', 'after_save')",
    ],
  ])("refuses %j", (argv, message) => {
    expect(refusal(...argv)).toBe(message);
  });

  it("collects faults", () => {
    const { faults } = settingsOf("--fault-missing-model", "a", "--fault-missing-model", "b", "--fault-disk-full");
    expect(faults).toMatchObject({ missing_models: ["a", "b"], disk_full: true, crash: "" });
  });
});
