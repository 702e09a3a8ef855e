-- What tells a node that kills its workers from one that was near when they died.

-- Crashes in a row: that it was running in since a commit of its own.
ALTER TABLE node_runs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
-- Rows that it was running when it was declared dead. Null: whoever declared it did not count.
ALTER TABLE worker_leases ADD COLUMN held INTEGER;
