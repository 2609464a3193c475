/** Text that people write to tell things apart: names, labels, reasons, descriptions. */
import * as z from "zod";

/**
 * Half of a surrogate pair cannot be written as UTF-8: stored, it would become another text than the one that was
 * answered, and no query could ask for it. A null character ends a text for some who read it, so that two names look alike.
 */
export const PersonText = z
  .string()
  .refine((text) => text.isWellFormed(), "must hold no half of a surrogate pair")
  .refine((text) => !text.includes("\0"), "must hold no null character");
