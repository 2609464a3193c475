import { describe, expect, it } from "vitest";
import { allHashed, installOptions, namesSources, readLock } from "#gpu-agent/builds/lock-lines";

const hash = `--hash=sha256:${"a".repeat(64)}`;

describe("a line of the lock", () => {
  it.each([
    ["numpy==1.26.4", "numpy", "1.26.4"],
    ["Torch == 2.4.1+cu121", "torch", "2.4.1+cu121"],
    ["ruamel.yaml[jinja2]==0.18.6", "ruamel-yaml", "0.18.6"],
    ["pywin32===306 ; sys_platform == 'win32'", "pywin32", "306"],
    [`pillow==10.4.0 ${hash} ${hash}`, "pillow", "10.4.0"],
  ])("%s names one version", (text, name, version) => {
    expect(readLock([text])[0]).toMatchObject({ text, name, version, address: null });
  });

  it("may name an address, with a hash or a marker", () => {
    const [wheel, marked] = readLock([
      `foo @ https://files.example.org/foo-1.0-py3-none-any.whl ${hash}`,
      "bar @ git+https://git.example.org/bar@0123456789012345678901234567890123456789 ; python_version < '3.12'",
    ]);
    expect(wheel).toMatchObject({ name: "foo", version: null, hasHash: true });
    expect(marked?.address).toBe("git+https://git.example.org/bar@0123456789012345678901234567890123456789");
  });

  it.each([
    "numpy>=1.26",
    "numpy",
    "-r other.txt",
    "--index-url https://index.example.org",
    "-e .",
    "./local.whl",
    "numpy==1.26.4 --global-option=x",
    "foo @ https://$" + "{TOKEN}.example.org/foo.whl",
    "foo==1.0\n--extra-index-url https://index.example.org",
    "foo @ ftp://files.example.org/foo.whl",
  ])("%j is refused", (line) => {
    expect(() => readLock([line])).toThrow(/a lock holds exact pins alone/);
  });
});

describe("the installer", () => {
  it("takes wheels alone, and no package that the lock does not name", () => {
    const lock = readLock(["numpy==1.26.4", "foo @ https://files.example.org/foo-1.0-py3-none-any.whl#sha256=1"]);
    expect(lock.map(namesSources)).toEqual([false, false]);
    expect(installOptions(lock, [])).toEqual(["--no-deps", "--only-binary", ":all:"]);
  });

  it("builds what the lock names by the address of its source, and nothing else", () => {
    const lock = readLock(["numpy==1.26.4", "foo @ https://files.example.org/foo-1.0.tar.gz"]);
    expect(installOptions(lock, [])).toEqual(["--no-deps", "--only-binary", "numpy"]);
  });

  it("holds every file to its hash where every line has one", () => {
    const hashed = `numpy==1.26.4 ${hash}`;
    expect(allHashed(readLock([hashed]))).toBe(true);
    expect(installOptions(readLock([hashed]), [])).toContain("--require-hashes");
    expect(installOptions(readLock([hashed, "pillow==10.4.0"]), [])).not.toContain("--require-hashes");
  });

  it("looks in the manifest's indexes, the first in place of its own", () => {
    expect(installOptions([], ["https://one.example.org", "https://two.example.org"]).slice(-4)).toEqual([
      "--index-url",
      "https://one.example.org",
      "--extra-index-url",
      "https://two.example.org",
    ]);
  });
});
