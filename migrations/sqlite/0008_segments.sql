-- A run that has waited for long goes on in a new trace: each trace tells of a segment of it.

ALTER TABLE runs ADD COLUMN segment INTEGER NOT NULL DEFAULT 1;  -- the one whose trace the row has
ALTER TABLE runs ADD COLUMN resumed_at INTEGER;                  -- when that one began, unless it is the first
ALTER TABLE runs ADD COLUMN resumed_from TEXT;                   -- traceparent of workflow.execute in the one before
ALTER TABLE runs ADD COLUMN suspended_at INTEGER;                -- since when everything waits; null in other states

CREATE INDEX runs_suspended ON runs (organization_id, workspace_id, id) WHERE suspended_at IS NOT NULL;

-- The segment whose trace holds the span of the row.
ALTER TABLE node_runs ADD COLUMN segment INTEGER NOT NULL DEFAULT 1;
ALTER TABLE node_attempts ADD COLUMN segment INTEGER NOT NULL DEFAULT 1;

-- Segments that are over, with the ids that the run's row had. Insert-only.
CREATE TABLE run_segments (
    run_id          TEXT    NOT NULL,
    segment         INTEGER NOT NULL,
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    trace_id        TEXT    NOT NULL,
    root_span_id    TEXT    NOT NULL,
    started_at      INTEGER NOT NULL,
    suspended_at    INTEGER NOT NULL,
    resumed_from    TEXT,              -- traceparent of workflow.execute in the segment before
    resumed_as      TEXT    NOT NULL,  -- and in the one after
    closed_by       TEXT    NOT NULL,  -- the sweep that closed it
    trace_state     TEXT,
    PRIMARY KEY (run_id, segment)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_segments_closed_by ON run_segments (closed_by);

-- What waits already is to be looked at as well; later commits of waits see to that themselves.
UPDATE runs
SET wake_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000
WHERE state = 'running' AND cancel_requested_at IS NULL AND wake_at IS NULL
  AND id IN (SELECT run_id FROM node_runs WHERE state IN ('retry', 'waiting'));
