import { webhooks } from "./0001-webhooks.ts";
import { byMessage } from "./0002-by-message.ts";

/** Every step of the WebhooksObject's schema, oldest first. Append only. */
export const webhooksMigrations = [webhooks, byMessage];
