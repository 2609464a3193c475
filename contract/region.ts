import * as z from "zod";

/** What a node says about where it is: `eu-west`, `home`, `rack-2`. */
export const Region = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, "1 to 40 lower-case letters, digits, inner hyphens");
