CREATE TABLE `builds` (
	`workspace_id` text NOT NULL,
	`digest` text NOT NULL,
	`manifest` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`workspace_id`, `digest`),
	FOREIGN KEY (`workspace_id`) REFERENCES `workspaces`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `builds_by_age` ON `builds` (`workspace_id`,`created_at`);--> statement-breakpoint
ALTER TABLE `releases` ADD `build` text;--> statement-breakpoint
ALTER TABLE `releases` ADD `smoke_test` text;