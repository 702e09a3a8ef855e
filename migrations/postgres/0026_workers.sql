-- Workers as people see them: how much each does, and which of them made an attempt.
--
-- Processes of the version before write none of these: null is "not known". One of them that takes a node over leaves
-- the name that is there.

ALTER TABLE worker_leases
    ADD COLUMN slots integer,  -- activations that it runs at a time
    ADD COLUMN busy  integer;  -- slots in use, when it was heard of last
-- `host:pid`. A copy, so that it stays when the lease is forgotten, and nothing is looked up to show it.
ALTER TABLE node_runs ADD COLUMN worker text;
ALTER TABLE node_attempts ADD COLUMN worker text;
-- When the run's log was told that no worker lives: once for each time that there is none.
ALTER TABLE runs ADD COLUMN no_worker_at timestamptz;
