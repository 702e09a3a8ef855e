-- Workers as people see them: how much each does, and which of them made an attempt. Null: not known.

ALTER TABLE worker_leases ADD COLUMN slots INTEGER;  -- activations that it runs at a time
ALTER TABLE worker_leases ADD COLUMN busy INTEGER;   -- slots in use, when it was heard of last
-- `host:pid`. A copy, so that it stays when the lease is forgotten.
ALTER TABLE node_runs ADD COLUMN worker TEXT;
ALTER TABLE node_attempts ADD COLUMN worker TEXT;
-- When the run's log was told that no worker lives: once for each time that there is none.
ALTER TABLE runs ADD COLUMN no_worker_at INTEGER;
