ALTER TABLE `idempotency_keys` ADD `seed` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `idempotency_keys` ADD `begun_at` integer DEFAULT 0 NOT NULL;