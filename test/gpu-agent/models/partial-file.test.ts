import { appendFile, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ByteSpan, coveredBytes, withSpan } from "#gpu-agent/models/byte-ranges";
import { type Origin, PartialFile, readJournal } from "#gpu-agent/models/partial-file";
import { cleanUp, safetensors, sha256, temporaryFolder } from "./model-files.ts";

let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(cleanUp);

const bytes = safetensors(1_000);
const SIZE = bytes.byteLength;
const origin: Origin = { source: "s", host: "a.example.org", servedBy: "b.example.org", validator: '"1"' };

async function put(partial: PartialFile, [start, end]: ByteSpan): Promise<void> {
  await partial.write([bytes.subarray(start, end)], start);
  await partial.finish([start, end]);
}

describe("a partial file", () => {
  it("goes on with what was finished, and with where it came from", async () => {
    const first = await PartialFile.open(folder, SIZE);
    await first.begin(origin);
    await first.begin(origin);
    await put(first, [0, 400]);
    await put(first, [600, 700]);
    await first.write([bytes.subarray(800)], 800);
    await first.close();
    const second = await PartialFile.open(folder, SIZE);
    expect([second.spans, second.origins, second.isWhole]).toEqual([
      [
        [0, 400],
        [600, 700],
      ],
      [origin],
      false,
    ]);
    await put(second, [400, 600]);
    await put(second, [700, SIZE]);
    expect(second.isWhole).toBe(true);
    expect(await second.sha256()).toBe(sha256(bytes));
    expect(Buffer.from(await second.read(10, 20)).equals(bytes.subarray(10, 30))).toBe(true);
    expect((await second.read(SIZE - 5, 20)).byteLength).toBe(5);
    await second.close();
  });

  it("writes several buffers one after the other", async () => {
    const partial = await PartialFile.open(folder, SIZE);
    const parts = [bytes.subarray(0, 1), bytes.subarray(1, 1), bytes.subarray(1, 500), bytes.subarray(500)];
    await partial.write(parts, 0);
    await partial.finish([0, SIZE]);
    expect(await partial.sha256()).toBe(sha256(bytes));
    await partial.close();
    expect((await readFile(join(folder, "bytes"))).equals(bytes)).toBe(true);
  });

  it.each([
    ["of another size", () => Promise.resolve(), SIZE + 1],
    ["whose bytes are gone", () => truncate(join(folder, "bytes"), 100), SIZE],
    ["whose journal is gone", () => writeFile(join(folder, "journal"), ""), SIZE],
    ["whose journal says more than can be", () => appendFile(join(folder, "journal"), '{"done":[5000,6000]}\n'), SIZE],
  ])("%s is begun anew", async (_, damage, size) => {
    const first = await PartialFile.open(folder, SIZE);
    await put(first, [0, 400]);
    await first.close();
    await damage();
    const second = await PartialFile.open(folder, size);
    expect([second.spans, (await stat(join(folder, "bytes"))).size]).toEqual([[], 0]);
    await second.close();
  });

  it("can be begun anew while it is hashed", async () => {
    const partial = await PartialFile.open(folder, SIZE);
    await partial.begin(origin);
    await put(partial, [0, 900]);
    await partial.startOver();
    expect([partial.spans, partial.origins]).toEqual([[], []]);
    expect(await readJournal(folder)).toEqual({ sizeBytes: SIZE, spans: [], origins: [] });
    await put(partial, [0, SIZE]);
    expect(await partial.sha256()).toBe(sha256(bytes));
    await partial.close();
  });

  it("says so when bytes are missing that were to be hashed", async () => {
    const partial = await PartialFile.open(folder, SIZE);
    await put(partial, [0, 500]);
    await expect(partial.sha256()).rejects.toThrow(/^read \d+ of \d+ bytes$/);
    await partial.close();
  });
});

describe("a journal that was cut off anywhere, and then went on", () => {
  it("never says more than was finished, and loses only its last line", async () => {
    const spans: ByteSpan[] = [
      [0, 100],
      [300, 400],
      [100, 250],
      [700, 900],
    ];
    const finished = spans.reduce<ByteSpan[]>((all, span) => withSpan(all, span), []);
    const partial = await PartialFile.open(folder, SIZE);
    for (const span of spans) await put(partial, span);
    await partial.close();
    const whole = await readFile(join(folder, "journal"));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.byteLength), async (length) => {
        const cut = whole.subarray(0, length);
        await writeFile(join(folder, "journal"), cut);
        const lines = cut.toString().split("\n").length - 1;
        const least = spans.slice(0, Math.max(0, lines - 1)).reduce<ByteSpan[]>((all, span) => withSpan(all, span), []);
        const again = await PartialFile.open(folder, SIZE);
        // The file's bytes may be begun anew where not even the size could be read; they are put back for the next.
        if (again.spans.length === 0) await again.write([bytes], 0);
        expect(coveredBytes(again.spans)).toBeGreaterThanOrEqual(coveredBytes(least));
        const both = again.spans.reduce((all, span) => withSpan(all, span), finished);
        expect(both).toEqual(finished);
        await again.finish([950, 960]);
        await again.close();
        expect((await readJournal(folder))?.spans.at(-1)).toEqual([950, 960]);
      }),
    );
  });
});
