import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { ObjectStorageDatabase } from "#durable-objects/sql/object-storage";

it("of an object's storage grow with what it stores, and what was deleted does not count", async () => {
  const megabyte = 1_000_000;
  await runInDurableObject(env.ENDPOINTS.getByName("bytes stored"), (_, { storage }) => {
    const db = new ObjectStorageDatabase(storage);
    const before = db.bytesStored();
    db.exec("CREATE TABLE large (number INTEGER PRIMARY KEY, text TEXT NOT NULL)");
    for (let row = 0; row < 5; row += 1) db.exec("INSERT INTO large (text) VALUES (?)", "x".repeat(megabyte));
    expect(db.bytesStored() - before).toBeGreaterThan(5 * megabyte);
    expect(db.bytesStored() - before).toBeLessThan(6 * megabyte);
    db.exec("DELETE FROM large");
    expect(db.bytesStored() - before).toBeLessThan(megabyte);
  });
});
