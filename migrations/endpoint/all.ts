import { queue } from "./0001-queue.ts";

/** Every step of the EndpointObject's schema, oldest first. Append only. */
export const endpointMigrations = [queue];
