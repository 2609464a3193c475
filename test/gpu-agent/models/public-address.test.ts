import { describe, expect, it } from "vitest";
import { AddressRefused, guardedLookup, isWithinReach, type ResolvedAddress } from "#gpu-agent/models/public-address";

const PUBLIC = [
  "8.8.8.8",
  "1.1.1.1",
  "172.32.0.1",
  "223.255.255.255",
  "2606:4700::1111",
  "::ffff:8.8.8.8",
  "64:ff9b::808:808",
];
const LOOPBACK = ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::FFFF:7f00:1"];
const PRIVATE = [
  "0.0.0.0",
  "10.0.0.1",
  "100.64.0.1",
  "100.127.255.255",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.1",
  "192.168.0.1",
  "198.19.0.1",
  "203.0.113.5",
  "224.0.0.1",
  "255.255.255.255",
  "::",
  "fe80::1",
  "fe80::1%eth0",
  "fc00::1",
  "fd12:3456::1",
  "ff02::1",
  "fec0::1",
  "2001:db8::1",
  "2001::1",
  "2002:0a00:0001::",
  "::ffff:10.0.0.1",
  "::ffff:a9fe:a9fe",
  "64:ff9b::a00:1",
  "64:ff9b::10.0.0.1",
  "64:ff9b:1::1",
  "::10.0.0.1",
];

describe("an address", () => {
  it.each([...PUBLIC])("%s is public", (address) => {
    expect(isWithinReach(address, "public")).toBe(true);
    expect(isWithinReach(address, "loopback")).toBe(true);
  });
  it.each(LOOPBACK)("%s is the machine itself", (address) => {
    expect(isWithinReach(address, "public")).toBe(false);
    expect(isWithinReach(address, "loopback")).toBe(true);
    expect(isWithinReach(address, "private")).toBe(true);
  });
  it.each(PRIVATE)("%s is private", (address) => {
    expect(isWithinReach(address, "public")).toBe(false);
    expect(isWithinReach(address, "loopback")).toBe(false);
    expect(isWithinReach(address, "private")).toBe(true);
  });
  it.each(["", "localhost", "1.2.3", "0x7f.1", "127.1", "1.2.3.4.5", ":::"])("%j is none", (text) => {
    for (const reach of ["public", "loopback", "private"] as const) expect(isWithinReach(text, reach)).toBe(false);
  });
});

describe("a name's addresses", () => {
  type Answer = { error: Error | null; address: unknown };
  function ask(
    addresses: readonly ResolvedAddress[],
    options: { all?: boolean; family?: 4 | 6 } = {},
  ): Promise<Answer> {
    const lookup = guardedLookup(() => Promise.resolve(addresses), "public");
    return new Promise((resolve) => {
      lookup("models.example.org", options, (error, address) => resolve({ error, address }));
    });
  }
  const inside = { address: "10.1.2.3", family: 4 };
  const outside = { address: "8.8.4.4", family: 4 };
  const six = { address: "2606:4700::1111", family: 6 };

  it("are handed on when they are public, the others not", async () => {
    expect(await ask([inside, outside, six], { all: true })).toEqual({ error: null, address: [outside, six] });
    expect(await ask([inside, outside])).toEqual({ error: null, address: "8.8.4.4" });
    expect(await ask([outside, six], { family: 6 })).toEqual({ error: null, address: "2606:4700::1111" });
  });

  it("are refused when none is", async () => {
    const { error } = await ask([inside], { all: true });
    expect(error).toBeInstanceOf(AddressRefused);
    expect(error?.message).toBe("models.example.org leads to a private address");
    expect((await ask([])).error?.message).toBe("models.example.org has no address");
  });

  it("that cannot be asked for are the resolver's error", async () => {
    const lookup = guardedLookup(() => Promise.reject(new Error("no such name")), "public");
    const error = await new Promise((resolve) => lookup("x", {}, resolve));
    expect(error).toMatchObject({ message: "no such name" });
  });
});
