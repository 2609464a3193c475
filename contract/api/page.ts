import * as z from "zod";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "#contract/limits";
import { wholeNumber } from "#contract/whole-number";

/** Query of every list. */
export const PageQuery = z.object({
  cursor: z.string().max(500).optional().meta({ description: "next_cursor of the page before" }),
  limit: wholeNumber(1, PAGE_SIZE_MAX).default(PAGE_SIZE_DEFAULT),
});

/** A page of a list; next_cursor is null on the last one. */
export function page<Item extends z.ZodType>(item: Item) {
  return z.object({ data: z.array(item), next_cursor: z.string().nullable() });
}
