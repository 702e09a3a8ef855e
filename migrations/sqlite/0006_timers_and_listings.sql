-- Indexes for what every process asks all the time, and for what users page through.

-- Rows that wait for a time of their own: few beside a backlog, whose rows node_runs_due holds as well.
CREATE INDEX node_runs_timers ON node_runs (wake_at) WHERE state IN ('retry', 'waiting');

-- Runs that were brought to an end, or are being, by the state that they are to end in.
CREATE INDEX runs_brought_down ON runs (organization_id, workspace_id, cancel_state, id) WHERE cancel_state IS NOT NULL;

CREATE INDEX worker_leases_state ON worker_leases (state, started_at);
