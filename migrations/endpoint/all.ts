import { queue } from "./0001-queue.ts";
import { absence } from "./0002-absence.ts";

/** Every step of the EndpointObject's schema, oldest first. Append only. */
export const endpointMigrations = [queue, absence];
