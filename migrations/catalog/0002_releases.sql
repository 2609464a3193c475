CREATE TABLE `activations` (
	`endpoint_id` text NOT NULL,
	`version` integer NOT NULL,
	`release` integer NOT NULL,
	`replaced` integer,
	`cause` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`endpoint_id`, `version`),
	FOREIGN KEY (`endpoint_id`) REFERENCES `endpoints`(`id`) ON UPDATE no action ON DELETE no action,
	CONSTRAINT "activations_cause" CHECK(cause IN ('deploy', 'activate', 'rollback'))
);
--> statement-breakpoint
ALTER TABLE `endpoints` ADD `newest_release` integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE `releases` ADD `overrides` text DEFAULT '{}' NOT NULL;--> statement-breakpoint
UPDATE `endpoints` SET `newest_release` = (SELECT max(`number`) FROM `releases` WHERE `releases`.`endpoint_id` = `endpoints`.`id`);--> statement-breakpoint
UPDATE `releases` SET `overrides` = (SELECT `overrides` FROM `endpoints` WHERE `endpoints`.`id` = `releases`.`endpoint_id`);--> statement-breakpoint
-- Until now every release was activated when it was made, and each of them raised the endpoint's version.
INSERT INTO `activations` (`endpoint_id`, `version`, `release`, `replaced`, `cause`, `at`)
	SELECT `endpoint_id`, `number`, `number`, nullif(`number` - 1, 0), 'deploy', `created_at` FROM `releases`;
