import { webhooks } from "./0001-webhooks.ts";

/** Every step of the WebhooksObject's schema, oldest first. Append only. */
export const webhooksMigrations = [webhooks];
