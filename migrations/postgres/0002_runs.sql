-- Runs and their activations: the truth about what is to be done.
--
-- No foreign keys: each would lock the referenced row on the hottest statements, and the fenced
-- statements already write both sides together. Payloads are json, not jsonb: stored as they came,
-- and \u0000, which jsonb refuses, is kept.

CREATE TABLE runs (
    id                  uuid        PRIMARY KEY,
    organization_id     text        NOT NULL,
    workspace_id        text        NOT NULL,
    user_id             text        NOT NULL,
    version_id          uuid        NOT NULL,
    workflow            text        NOT NULL,
    version             integer     NOT NULL,
    node_count          integer     NOT NULL,
    edge_count          integer     NOT NULL,
    state               text        NOT NULL,
    step_mode           boolean     NOT NULL DEFAULT false,
    input               json        NOT NULL,
    output              json,
    error               json,
    idempotency_key     text,
    idempotency_digest  bytea,
    trace_id            text        NOT NULL,
    publish_span_id     text        NOT NULL,  -- the API's publish span: parent of workflow.execute
    root_span_id        text        NOT NULL,  -- reserved for workflow.execute
    trace_flags         smallint    NOT NULL,
    cancel_requested_at timestamptz,
    cancel_state        text,                  -- what the run becomes: cancelled, failed, timed_out
    wake_at             timestamptz,           -- when the finisher should look at it
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    ended_at            timestamptz
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX runs_idempotency ON runs (organization_id, workspace_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_listing ON runs (organization_id, workspace_id, id DESC);
CREATE INDEX runs_due ON runs (wake_at) WHERE wake_at IS NOT NULL;

-- One row an activation, created when it becomes runnable or its first token arrives.
CREATE TABLE node_runs (
    run_id          uuid        NOT NULL,
    node_key        text        NOT NULL,
    scope           text        NOT NULL DEFAULT '',
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    ordinal         bigint      GENERATED ALWAYS AS IDENTITY,  -- the order of becoming known
    kind            text        NOT NULL,
    state           text        NOT NULL,
    fan_in          integer     NOT NULL DEFAULT 0,
    pending         integer     NOT NULL DEFAULT 0,  -- tokens still to come
    live            integer     NOT NULL DEFAULT 0,  -- live tokens so far
    claim           integer     NOT NULL DEFAULT 0,  -- the fence; only grows
    attempts        integer     NOT NULL DEFAULT 0,  -- starts, without waits and releases
    failures        integer     NOT NULL DEFAULT 0,  -- attempts that ended in retry
    strikes         integer     NOT NULL DEFAULT 0,  -- crashes that it alone can have caused
    suspect         boolean     NOT NULL DEFAULT false,
    crashed         boolean     NOT NULL DEFAULT false,
    lease_id        uuid,                            -- kept when ended, to resolve a lost reply
    timeout_ms      bigint      NOT NULL,
    publish_span_id text        NOT NULL,
    span_id         text,
    input           json,
    output          json,
    error           json,
    waited_until    timestamptz,
    wake_at         timestamptz,
    wakes           integer     NOT NULL DEFAULT 0,  -- repeated hints, for the back-off
    queued_at       timestamptz,
    started_at      timestamptz,
    ended_at        timestamptz,
    PRIMARY KEY (run_id, node_key, scope)
) WITH (fillfactor = 70);

CREATE INDEX node_runs_due ON node_runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX node_runs_held ON node_runs (lease_id) WHERE state = 'running';

-- Attempts that did not end their node; the last one is on the node's row. Insert-only.
CREATE TABLE node_attempts (
    run_id          uuid        NOT NULL,
    node_key        text        NOT NULL,
    scope           text        NOT NULL,
    claim           integer     NOT NULL,
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    attempt         integer     NOT NULL,
    outcome         text        NOT NULL,      -- retry, waiting, released, crashed
    error           json,
    span_id         text,
    lease_id        uuid,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz NOT NULL,
    PRIMARY KEY (run_id, node_key, scope, claim)
);

-- Finished rows pile up fast in these two: vacuum by a tenth, not by a fifth.
ALTER TABLE runs SET (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_limit = 1000);
ALTER TABLE node_runs SET (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_limit = 1000);
