import { describe, expect, it } from "vitest";
import { ColumnWriter } from "#durable-objects/sql/column-writer";

const writer = new ColumnWriter(["a", "b", "c"], (columns) => `write ${columns.join()}`);

describe("a write of some columns", () => {
  it("names those whose values are others than the row's, in their order", () => {
    expect(writer.write([1, null, "x"], [2, null, "y"])).toEqual({ text: "write a,c", given: [1, "x"] });
    expect(writer.write([1, null, "x"], [1, 2, "x"])).toEqual({ text: "write b", given: [null] });
  });

  it("names all of them when the row is not at hand", () => {
    expect(writer.write([1, null, "x"], null)).toEqual({ text: "write a,b,c", given: [1, null, "x"] });
  });

  it("is none when the row has it all", () => {
    expect(writer.write([1, null, "x"], [1, null, "x"])).toBeNull();
  });

  it("tells as many columns apart as a sum of powers of two can", () => {
    const columns = Array.from({ length: 52 }, (_, at) => `c${at}`);
    const wide = new ColumnWriter(columns, (some) => some.join());
    const [none, all] = [columns.map(() => 0), columns.map(() => 1)];
    expect(wide.write(all, none)?.text).toBe(columns.join());
    expect(columns.map((_, at) => wide.write(none.with(at, 1), none)?.text)).toEqual(columns);
  });
});
