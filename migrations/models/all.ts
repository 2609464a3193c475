import { models } from "./0001-models.ts";

/** Every step of the ModelsObject's schema, oldest first. Append only. */
export const modelsMigrations = [models];
