import { expect, it } from "vitest";
import { StoredBytes } from "#durable-objects/sql/stored-bytes";

/** Looks at storage that is filled so far, in percent, a second after the last look. */
function fills(...percents: number[]): string[] {
  const db = { bytesMax: 1_000, bytes: 0, bytesStored: () => db.bytes };
  const stored = new StoredBytes(db);
  return percents.map((percent, at) => {
    db.bytes = percent * 10;
    return stored.fill(at * 1_000);
  });
}

it("is short from 80 % on until it is below 75 %, and full from 90 % on", () => {
  expect(fills(0, 79, 80, 89, 90, 100, 89, 75, 74, 79)).toEqual([
    "ample",
    "ample",
    "short",
    "short",
    "full",
    "full",
    "short",
    "short",
    "ample",
    "ample",
  ]);
});

it("is looked at once a second, and again when the clock steps back", () => {
  const looks: number[] = [];
  let now = 5_000;
  const stored = new StoredBytes({
    bytesMax: 1_000,
    bytesStored: () => {
      looks.push(now);
      return 0;
    },
  });
  for (now of [5_000, 5_999, 6_000, 6_500, 5_500, 5_600]) stored.fill(now);
  expect(looks).toEqual([5_000, 6_000, 5_500]);
});
