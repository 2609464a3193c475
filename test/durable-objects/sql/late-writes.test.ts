import { describe, expect, it } from "vitest";
import { LateWrites } from "#durable-objects/sql/late-writes";
import { NodeDatabase } from "../queue/node-database.ts";

/** A table of one column and a database in front of it. */
function opened(): { db: LateWrites; add: (n: number) => void; stored: () => unknown[] } {
  const inner = new NodeDatabase();
  inner.exec("CREATE TABLE numbers (n INTEGER NOT NULL)");
  const db = new LateWrites(inner);
  return {
    db,
    add: (n) => db.later(() => db.exec("INSERT INTO numbers (n) VALUES (?)", n)),
    stored: () => inner.exec("SELECT n FROM numbers ORDER BY rowid").map(({ n }) => n),
  };
}

describe("a write that waits", () => {
  it("is seen by every question, and stands before every write that comes after it", () => {
    const { db, add, stored } = opened();
    add(1);
    expect(stored()).toEqual([]);
    expect(db.exec("SELECT count(*) AS n FROM numbers")).toEqual([{ n: 1 }]);
    add(2);
    add(3);
    db.exec("INSERT INTO numbers (n) VALUES (4)");
    expect(stored()).toEqual([1, 2, 3, 4]);
  });

  it("does not wait for what is asked beside it", () => {
    const { db, add, stored } = opened();
    add(1);
    expect(db.beside.exec("SELECT count(*) AS n FROM numbers")).toEqual([{ n: 0 }]);
    db.settle();
    expect(stored()).toEqual([1]);
  });

  it("belongs to the transaction in which it was made", () => {
    const { db, add, stored } = opened();
    db.transaction(() => add(1));
    expect(stored()).toEqual([1]);
    const undone = (): void => {
      add(2);
      throw new Error("undone");
    };
    expect(() => db.transaction(undone)).toThrow("undone");
    db.settle();
    expect(stored()).toEqual([1]);
    db.transaction(() => {
      add(3);
      expect(() => db.transaction(undone)).toThrow("undone");
    });
    expect(stored()).toEqual([1, 3]);
  });

  it("undoes its transaction when it fails", () => {
    const { db, stored } = opened();
    const failing = (): void => {
      db.exec("INSERT INTO numbers (n) VALUES (1)");
      db.later(() => db.exec("INSERT INTO numbers (n) VALUES (NULL)"));
    };
    expect(() => db.transaction(failing)).toThrow();
    expect(stored()).toEqual([]);
  });
});
