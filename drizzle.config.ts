import { defineConfig } from "drizzle-kit";

/** `npx drizzle-kit generate` compares schema.ts with the last snapshot and writes the next numbered .sql. */
export default defineConfig({
  dialect: "sqlite",
  schema: "./migrations/catalog/schema.ts",
  out: "./migrations/catalog",
});
