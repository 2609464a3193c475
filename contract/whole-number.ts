import * as z from "zod";

/** Digits alone: `Number` also reads "0x10", "1e1", " 7 " and nothing at all. */
const DIGITS = /^(?:0|[1-9][0-9]{0,15})$/;

/** A whole number in an address, where everything is text. */
export function wholeNumber(min: number, max: number) {
  return z.preprocess(
    (text) => (typeof text === "string" && DIGITS.test(text) ? Number(text) : text),
    z.number({ error: "Must be a whole number, in digits." }).int().min(min).max(max),
  );
}
