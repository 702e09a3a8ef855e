-- Runs and their activations: the truth about what is to be done.

CREATE TABLE runs (
    id                  TEXT    PRIMARY KEY NOT NULL,
    organization_id     TEXT    NOT NULL,
    workspace_id        TEXT    NOT NULL,
    user_id             TEXT    NOT NULL,
    version_id          TEXT    NOT NULL,
    workflow            TEXT    NOT NULL,
    version             INTEGER NOT NULL,
    node_count          INTEGER NOT NULL,
    edge_count          INTEGER NOT NULL,
    state               TEXT    NOT NULL,
    step_mode           INTEGER NOT NULL DEFAULT 0,
    input               TEXT    NOT NULL CHECK (json_valid(input)),
    output              TEXT    CHECK (json_valid(output)),
    error               TEXT    CHECK (json_valid(error)),
    idempotency_key     TEXT,
    idempotency_digest  BLOB,
    trace_id            TEXT    NOT NULL,
    publish_span_id     TEXT    NOT NULL,  -- the API's publish span: parent of workflow.execute
    root_span_id        TEXT    NOT NULL,  -- reserved for workflow.execute
    trace_flags         INTEGER NOT NULL,
    cancel_requested_at INTEGER,
    cancel_state        TEXT,              -- what the run becomes: cancelled, failed, timed_out
    wake_at             INTEGER,           -- when the finisher should look at it
    created_at          INTEGER NOT NULL,
    started_at          INTEGER,
    ended_at            INTEGER
) STRICT;

CREATE UNIQUE INDEX runs_idempotency ON runs (organization_id, workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_listing ON runs (organization_id, workspace_id, id DESC);
CREATE INDEX runs_due ON runs (wake_at) WHERE wake_at IS NOT NULL;

-- One row an activation, created when it becomes runnable or its first token arrives.
CREATE TABLE node_runs (
    ordinal         INTEGER PRIMARY KEY,           -- the order of becoming known
    run_id          TEXT    NOT NULL,
    node_key        TEXT    NOT NULL,
    scope           TEXT    NOT NULL DEFAULT '',
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    fan_in          INTEGER NOT NULL DEFAULT 0,
    pending         INTEGER NOT NULL DEFAULT 0,    -- tokens still to come
    live            INTEGER NOT NULL DEFAULT 0,    -- live tokens so far
    claim           INTEGER NOT NULL DEFAULT 0,    -- the fence; only grows
    attempts        INTEGER NOT NULL DEFAULT 0,    -- starts, without waits and releases
    failures        INTEGER NOT NULL DEFAULT 0,    -- attempts that ended in retry
    strikes         INTEGER NOT NULL DEFAULT 0,    -- crashes that it alone can have caused
    suspect         INTEGER NOT NULL DEFAULT 0,
    crashed         INTEGER NOT NULL DEFAULT 0,
    lease_id        TEXT,                          -- kept when ended, to resolve a lost reply
    timeout_ms      INTEGER NOT NULL,
    publish_span_id TEXT    NOT NULL,
    span_id         TEXT,
    input           TEXT    CHECK (json_valid(input)),
    output          TEXT    CHECK (json_valid(output)),
    error           TEXT    CHECK (json_valid(error)),
    waited_until    INTEGER,
    wake_at         INTEGER,
    wakes           INTEGER NOT NULL DEFAULT 0,    -- repeated hints, for the back-off
    queued_at       INTEGER,
    started_at      INTEGER,
    ended_at        INTEGER,
    UNIQUE (run_id, node_key, scope)
) STRICT;

CREATE INDEX node_runs_due ON node_runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX node_runs_held ON node_runs (lease_id) WHERE state = 'running';

-- Attempts that did not end their node; the last one is on the node's row. Insert-only.
CREATE TABLE node_attempts (
    run_id          TEXT    NOT NULL,
    node_key        TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    claim           INTEGER NOT NULL,
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    attempt         INTEGER NOT NULL,
    outcome         TEXT    NOT NULL,      -- retry, waiting, released, crashed
    error           TEXT    CHECK (json_valid(error)),
    span_id         TEXT,
    lease_id        TEXT,
    started_at      INTEGER NOT NULL,
    ended_at        INTEGER NOT NULL,
    PRIMARY KEY (run_id, node_key, scope, claim)
) STRICT;
