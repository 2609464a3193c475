import { readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pause } from "#gpu-agent/control/backoff";
import { FileLocks } from "#gpu-agent/models/file-lock";
import { cleanUp, SOON, temporaryFolder } from "./model-files.ts";
import { startChild } from "./start-child.ts";

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(cleanUp);
const locks = () => new FileLocks({ folder, pause });

describe("a lock", () => {
  it("is held by one, whichever object of the process asks, until it is given back", async () => {
    const held = await locks().take("a");
    expect(await locks().tryTake("a")).toBeNull();
    expect(await locks().isHeld("a")).toBe(true);
    expect(await locks().tryTake("b")).not.toBeNull();
    await held.release();
    expect(await locks().isHeld("a")).toBe(false);
    const next = await locks().tryTake("a");
    expect(next).not.toBeNull();
    // A second release of the first holder takes nothing from the second.
    await held.release();
    expect(await locks().tryTake("a")).toBeNull();
  });

  it("is waited for, and the wait can be ended", async () => {
    const held = await locks().take("a");
    let looks = 0;
    const stop = new AbortController();
    const waits = locks().take("a", stop.signal, async () => {
      looks += 1;
    });
    await expect.poll(() => looks, SOON).toBeGreaterThan(0);
    stop.abort(new Error("enough"));
    await expect(waits).rejects.toThrow("enough");
    const next = locks().take("a");
    await held.release();
    await expect(next).resolves.toBeDefined();
  });

  it("of a process that was killed is free, and of one that lives is not", async () => {
    const child = startChild({ do: "lock", folder, name: "a" });
    await child.said("ready");
    expect(await locks().tryTake("a")).toBeNull();
    await child.kill();
    expect(await locks().tryTake("a")).not.toBeNull();
  });

  it.each([
    ["whose process number another program has now", `${process.pid}.0123456789abcdef01234567`],
    ["of a process number that nobody has", "999999999.0123456789abcdef01234567"],
    ["that names nobody", "?"],
  ])("%s is free", async (_, text) => {
    await symlink(text, join(folder, "a.4"));
    expect(await locks().isHeld("a")).toBe(false);
    expect(await locks().tryTake("a")).not.toBeNull();
    expect(await locks().tryTake("a")).toBeNull();
  });

  it("in a folder that was damaged is free", async () => {
    await writeFile(join(folder, "a.9"), "");
    expect(await locks().tryTake("a")).not.toBeNull();
    expect(await locks().tryTake("a")).toBeNull();
  });

  it("leaves few files however often it is taken", async () => {
    for (let times = 0; times < 10; times += 1) await (await locks().take("a")).release();
    expect((await readdir(folder)).length).toBeLessThanOrEqual(4);
  });

  it("is held by one at a time among processes that fight for it, some of which are killed", async () => {
    const file = join(await temporaryFolder(), "count");
    await writeFile(file, "0");
    const dies = startChild({ do: "lock", folder, name: "a" });
    await dies.said("ready");
    const children = [1, 2, 3].map(() => startChild({ do: "count", folder, name: "a", file, times: 40 }));
    await dies.kill();
    await Promise.all(children.map((child) => child.said("done")));
    expect(await readFile(file, "utf8")).toBe("120");
  });
});
