-- Indexes for what every process asks all the time, and for what users page through.

-- Rows that wait for a time of their own: few beside a backlog, whose rows node_runs_due holds as well.
CREATE INDEX node_runs_timers ON node_runs (wake_at) WHERE state IN ('retry', 'waiting');

-- All columns in one direction, so that a page is a range of the index: from a row on, backwards.
DROP INDEX runs_listing;
CREATE INDEX runs_listing ON runs (organization_id, workspace_id, id);

-- Runs that were brought to an end, or are being. By the state that they are to end in and not by the one that they
-- are in: that changes in every run, and a change of an indexed column costs an entry in every index.
CREATE INDEX runs_brought_down ON runs (organization_id, workspace_id, cancel_state, id) WHERE cancel_state IS NOT NULL;

-- Not by seen_at, for the same reason: every heartbeat changes it.
CREATE INDEX worker_leases_state ON worker_leases (state, started_at);
