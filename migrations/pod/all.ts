import { capacity } from "./0001-capacity.ts";
import { absence } from "./0002-absence.ts";
import { silence } from "./0003-silence.ts";

/** Every step of the PodObject's schema, oldest first. Append only. */
export const podMigrations = [capacity, absence, silence];
