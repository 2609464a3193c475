import { capacity } from "./0001-capacity.ts";

/** Every step of the PodObject's schema, oldest first. Append only. */
export const podMigrations = [capacity];
