-- A run that has waited for long goes on in a new trace: each trace tells of a segment of it.

ALTER TABLE runs
    ADD COLUMN segment      integer NOT NULL DEFAULT 1,  -- the one whose trace the row has
    ADD COLUMN resumed_at   timestamptz,                 -- when that one began, unless it is the first
    ADD COLUMN resumed_from text,                        -- traceparent of workflow.execute in the one before
    ADD COLUMN suspended_at timestamptz;                 -- since when everything waits; set in the state suspended only

CREATE INDEX runs_suspended ON runs (organization_id, workspace_id, id) WHERE suspended_at IS NOT NULL;

-- The segment whose trace holds the span of the row.
ALTER TABLE node_runs ADD COLUMN segment integer NOT NULL DEFAULT 1;
ALTER TABLE node_attempts ADD COLUMN segment integer NOT NULL DEFAULT 1;

-- Segments that are over, with the ids that the run's row had. Insert-only.
CREATE TABLE run_segments (
    run_id          uuid        NOT NULL,
    segment         integer     NOT NULL,
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    trace_id        text        NOT NULL,
    root_span_id    text        NOT NULL,
    started_at      timestamptz NOT NULL,
    suspended_at    timestamptz NOT NULL,
    resumed_from    text,                  -- traceparent of workflow.execute in the segment before
    resumed_as      text        NOT NULL,  -- and in the one after
    closed_by       uuid        NOT NULL,  -- the sweep that closed it
    trace_state     text,
    PRIMARY KEY (run_id, segment)
);

CREATE INDEX run_segments_closed_by ON run_segments (closed_by);

-- What waits already is to be looked at as well; later commits of waits see to that themselves.
UPDATE runs r
SET wake_at = now()
WHERE r.state = 'running' AND r.cancel_requested_at IS NULL AND r.wake_at IS NULL
  AND r.id IN (SELECT n.run_id FROM node_runs n WHERE n.state IN ('retry', 'waiting'));
