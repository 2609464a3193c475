import { webhooks } from "./0001-webhooks.ts";
import { byMessage } from "./0002-by-message.ts";
import { unwantedJobs } from "./0003-unwanted-jobs.ts";

/** Every step of the WebhooksObject's schema, oldest first. Append only. */
export const webhooksMigrations = [webhooks, byMessage, unwantedJobs];
