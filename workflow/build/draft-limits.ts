/** How much of each kind one draft holds: what a manifest may, so that what was read can also be completed. */

export const DRAFT_NODES_MAX = 200;
export const DRAFT_MODELS_MAX = 1_000;
export const DRAFT_PACKAGES_MAX = 2_000;
/** Addresses of one model, and indexes of one lock. */
export const DRAFT_SOURCES_MAX = 10;
