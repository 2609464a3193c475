import { describe, expect, it } from "vitest";
import * as z from "zod";
import { PageQuery } from "#contract/api/page";
import { fieldErrors } from "#worker/http/field-errors";

const reasons = (schema: z.ZodType, value: unknown): string[] => {
  const { error } = schema.safeParse(value, { reportInput: true });
  return fieldErrors(error?.issues ?? []).map(({ path, reason }) => `${path}: ${reason}`);
};

describe("what is wrong with a field", () => {
  const Since = z.object({ since: z.iso.datetime({ offset: true }) });
  const moment = "/since: Must be a date and time with Z or an offset, such as 2026-01-31T12:00:00Z.";

  it.each(["yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z"])(
    "says what a moment looks like, for %s",
    (since) => {
      expect(reasons(Since, { since })).toEqual([moment]);
    },
  );

  it("names the + that an address turns into a space", () => {
    expect(reasons(Since, { since: "2026-01-31T12:00:00 02:00" })).toEqual([
      `${moment} In an address, a + is written %2B.`,
    ]);
  });

  it.each(["1.5", "1e2", "0x5", " 5", ""])("asks for a whole number where %j came", (limit) => {
    expect(reasons(PageQuery, { limit })).toEqual(["/limit: Must be a whole number, in digits."]);
  });

  it("says what type a value must have, and that it is missing", () => {
    const Body = z.object({ count: z.int(), name: z.string() });
    expect(reasons(Body, { count: "1" })).toEqual(["/count: Must be a number.", "/name: This field is required."]);
  });
});
