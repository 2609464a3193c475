/** Text that people write to tell things apart: names, labels, reasons, descriptions. */
import * as z from "zod";

/**
 * Half of a surrogate pair cannot be written as UTF-8: stored, it would become another text than the one that was
 * answered, and no query could ask for it.
 */
export const PersonText = z.string().refine((text) => text.isWellFormed(), "must hold no half of a surrogate pair");
