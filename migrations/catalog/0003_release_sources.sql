CREATE TABLE `release_sources` (
	`endpoint_id` text NOT NULL,
	`number` integer NOT NULL,
	`part` integer NOT NULL,
	`encoding` text NOT NULL,
	`content` text NOT NULL,
	PRIMARY KEY(`endpoint_id`, `number`, `part`),
	FOREIGN KEY (`endpoint_id`,`number`) REFERENCES `releases`(`endpoint_id`,`number`) ON UPDATE no action ON DELETE no action,
	CONSTRAINT "release_sources_encoding" CHECK(encoding IN ('text', 'deflate'))
);
