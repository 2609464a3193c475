/** How much of a card's time replicas took, where several share one: what is older counts as whole cards. */
export const cardTime = {
  id: 15,
  name: "card_time",
  sql: `
-- Slots that share the replica's card.
ALTER TABLE replicas ADD COLUMN slots_on_card INTEGER NOT NULL DEFAULT 1 CHECK (slots_on_card > 0)
--
-- ms of whole cards.
ALTER TABLE replica_days ADD COLUMN card_ms INTEGER NOT NULL DEFAULT 0
--
UPDATE replica_days SET card_ms = cold_ms + idle_ms + busy_ms
`,
};
