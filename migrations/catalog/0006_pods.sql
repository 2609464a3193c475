CREATE TABLE `gpu_types` (
	`workspace_id` text NOT NULL,
	`name` text NOT NULL,
	`settings` text NOT NULL,
	`updated_at` integer NOT NULL,
	PRIMARY KEY(`workspace_id`, `name`),
	FOREIGN KEY (`workspace_id`) REFERENCES `workspaces`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `joins` (
	`token_id` text NOT NULL,
	`join_id` text NOT NULL,
	`node_id` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`token_id`, `join_id`),
	FOREIGN KEY (`token_id`) REFERENCES `join_tokens`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
ALTER TABLE `endpoints` ADD `pods` text;--> statement-breakpoint
ALTER TABLE `join_tokens` ADD `name` text DEFAULT '' NOT NULL;--> statement-breakpoint
ALTER TABLE `join_tokens` ADD `uses_max` integer;--> statement-breakpoint
ALTER TABLE `join_tokens` ADD `revoked_at` integer;--> statement-breakpoint
CREATE INDEX `join_tokens_pod` ON `join_tokens` (`pod_id`,`id`);--> statement-breakpoint
ALTER TABLE `pods` ADD `settings` text DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE `pods` ADD `updated_at` integer;--> statement-breakpoint
ALTER TABLE `pods` ADD `version` integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE `pods` ADD `applied_version` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `pods` ADD `deleted_at` integer;--> statement-breakpoint
CREATE UNIQUE INDEX `pods_name` ON `pods` (`workspace_id`,`name`) WHERE deleted_at IS NULL;