-- no-transaction
-- Runs whose deadline is still to be looked at.
CREATE INDEX CONCURRENTLY runs_by_deadline ON runs (deadline_due_at) WHERE deadline_due_at IS NOT NULL;
