-- Waits for something from outside, and what a run may spend.

ALTER TABLE node_runs ADD COLUMN waiting_for TEXT;
-- Whether something came from outside since the row was claimed: a wait for that is over at once.
ALTER TABLE node_runs ADD COLUMN signalled INTEGER NOT NULL DEFAULT 0;

ALTER TABLE runs ADD COLUMN max_nanos INTEGER;
ALTER TABLE runs ADD COLUMN max_tokens INTEGER;
ALTER TABLE runs ADD COLUMN max_steps INTEGER;
-- suspend or fail; null of a run that was accepted without a budget.
ALTER TABLE runs ADD COLUMN on_exhausted TEXT;
ALTER TABLE runs ADD COLUMN deadline_at INTEGER;
-- The same until a sweep has looked at it, and null afterwards, so that sweeps walk past no history.
ALTER TABLE runs ADD COLUMN deadline_due_at INTEGER;
