import { describe, expect, it } from "vitest";
import { deriveBytes, seal, unseal } from "#durable-objects/secrets/seal";

const SECRET = "a secret of the test run, 32 bytes or more";

describe("a sealed text", () => {
  it("opens as it was, and looks different each time", async () => {
    for (const text of ["", "whsec_abc", "naïve café — 猫🐈", "x".repeat(100_000)]) {
      const [one, two] = [
        await seal(SECRET, "webhook secret", "ws_1 wh_1", text),
        await seal(SECRET, "webhook secret", "ws_1 wh_1", text),
      ];
      expect(one).not.toBe(two);
      expect(await unseal(SECRET, "webhook secret", "ws_1 wh_1", one)).toBe(text);
    }
  });

  it("opens for nothing but its purpose, its context and its deployment, and not when it was altered", async () => {
    const sealed = await seal(SECRET, "webhook secret", "ws_1 wh_1", "whsec_abc");
    const altered = `${sealed.slice(0, -4)}${sealed.endsWith("AAA=") ? "BBB=" : "AAA="}`;
    await expect(unseal(SECRET, "idempotent answer", "ws_1 wh_1", sealed)).rejects.toThrow();
    await expect(unseal(SECRET, "webhook secret", "ws_2 wh_1", sealed)).rejects.toThrow();
    await expect(unseal(`${SECRET}!`, "webhook secret", "ws_1 wh_1", sealed)).rejects.toThrow();
    await expect(unseal(SECRET, "webhook secret", "ws_1 wh_1", altered)).rejects.toThrow();
  });

  it("is not made with a guessable key", async () => {
    await expect(seal("short", "webhook secret", "x", "y")).rejects.toThrow("32 characters");
    await expect(deriveBytes(undefined, "x", 32)).rejects.toThrow("32 characters");
  });
});

describe("derived bytes", () => {
  it("are the same for the same purpose, and others for another", async () => {
    const [one, again, other] = [
      await deriveBytes(SECRET, "a", 32),
      await deriveBytes(SECRET, "a", 32),
      await deriveBytes(SECRET, "b", 32),
    ];
    expect(one).toEqual(again);
    expect(one).not.toEqual(other);
    expect(one).toHaveLength(32);
  });
});
