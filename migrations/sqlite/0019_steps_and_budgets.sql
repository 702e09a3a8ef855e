-- Steps of nodes, what calls to models cost, and what may be spent on them.

-- The journal: one row for each try of a step. Payloads are JSON text.
CREATE TABLE agent_trace_history (
    id                    INTEGER PRIMARY KEY,  -- the order of beginning
    run_id                TEXT NOT NULL,
    node_key              TEXT NOT NULL,
    scope                 TEXT NOT NULL,
    step                  INTEGER NOT NULL,   -- from 1
    attempt               INTEGER NOT NULL,   -- which try of the step, from 1
    organization_id       TEXT NOT NULL,
    workspace_id          TEXT NOT NULL,
    user_id               TEXT NOT NULL,
    node_kind             TEXT NOT NULL,
    claim                 INTEGER NOT NULL,   -- of the attempt of the node that made it
    lease_id              TEXT NOT NULL,
    kind                  TEXT NOT NULL,   -- model, tool
    name                  TEXT NOT NULL,
    status                TEXT NOT NULL,
    digest                BLOB NOT NULL,
    arguments             TEXT CHECK (json_valid(arguments)),
    observation           TEXT CHECK (json_valid(observation)),
    thought               TEXT,
    error                 TEXT CHECK (json_valid(error)),
    provider              TEXT,                   -- null unless something was reserved for a call to it
    model                 TEXT,
    response_model        TEXT,
    price_input           INTEGER,                 -- nano-dollars a million tokens, as reserved; null: no price
    price_output          INTEGER,
    price_cache_read      INTEGER,
    price_cache_write     INTEGER,
    reserved_nanos        INTEGER,                 -- null: no price
    reserved_input_tokens INTEGER,
    reserved_output_tokens INTEGER,
    reserved_day          TEXT,                   -- 2026-11-29, in UTC; its first seven digits are the month
    input_tokens          INTEGER,
    cached_tokens         INTEGER,
    cache_write_tokens    INTEGER,
    output_tokens         INTEGER,
    cost_nanos            INTEGER,                 -- null: no price, or not over yet
    estimated             INTEGER NOT NULL DEFAULT 0,
    latency_ms            INTEGER,
    trace_id              TEXT NOT NULL,
    span_id               TEXT NOT NULL,
    parent_span_id        TEXT,
    decided_by            TEXT,
    expires_at            INTEGER,            -- of the decision about it
    started_at            INTEGER NOT NULL,
    ended_at              INTEGER,
    UNIQUE (run_id, node_key, scope, step, attempt)
) STRICT;

CREATE INDEX agent_trace_history_started ON agent_trace_history (run_id, node_key, scope) WHERE status = 'started';
CREATE INDEX agent_trace_history_of_run ON agent_trace_history (run_id, id);

-- One row for each request to a provider. Insert-only.
CREATE TABLE model_cost_logs (
    id                 INTEGER PRIMARY KEY,
    ts                 INTEGER NOT NULL,
    organization_id    TEXT NOT NULL,
    workspace_id       TEXT NOT NULL,
    user_id            TEXT NOT NULL,
    run_id             TEXT NOT NULL,
    workflow           TEXT NOT NULL,
    node_key           TEXT NOT NULL,
    scope              TEXT NOT NULL,
    step               INTEGER NOT NULL,
    attempt            INTEGER NOT NULL,
    provider           TEXT NOT NULL,
    model              TEXT NOT NULL,
    response_model     TEXT,
    status             TEXT NOT NULL,
    input_tokens       INTEGER NOT NULL,
    cached_tokens      INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cost_nanos         INTEGER,                 -- null: no price
    estimated          INTEGER NOT NULL,   -- settled without the provider's own count
    latency_ms         INTEGER,
    trace_id           TEXT NOT NULL,
    span_id            TEXT NOT NULL
) STRICT;

CREATE INDEX model_cost_logs_of_tenant ON model_cost_logs (organization_id, workspace_id, ts);
CREATE INDEX model_cost_logs_of_run ON model_cost_logs (run_id);

-- What was spent and is reserved: of a run (`run:…`), and of an organization in a day (`day:2026-11-29`) and a month
-- (`month:2026-11`). Kept for every call, so that a budget that is set later counts what was spent before.
CREATE TABLE budget_totals (
    organization_id    TEXT NOT NULL,
    bucket             TEXT NOT NULL,
    spent_nanos        INTEGER NOT NULL DEFAULT 0,
    open_nanos         INTEGER NOT NULL DEFAULT 0,
    open_tokens        INTEGER NOT NULL DEFAULT 0,
    input_tokens       INTEGER NOT NULL DEFAULT 0,
    cached_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens      INTEGER NOT NULL DEFAULT 0,
    calls              INTEGER NOT NULL DEFAULT 0,
    unpriced_calls     INTEGER NOT NULL DEFAULT 0,
    steps              INTEGER NOT NULL DEFAULT 0,
    warned             INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (organization_id, bucket)
) STRICT;

CREATE TABLE organization_budgets (
    organization_id TEXT NOT NULL,
    period          TEXT NOT NULL,   -- day, month
    max_nanos       INTEGER,
    max_tokens      INTEGER,
    max_steps       INTEGER,
    set_by          TEXT NOT NULL,
    set_at          INTEGER NOT NULL,
    PRIMARY KEY (organization_id, period)
) STRICT;

-- When the next call may start at a provider, in microseconds since 1970, if it came alone: see domain/rate.rs.
CREATE TABLE rate_buckets (
    provider    TEXT PRIMARY KEY NOT NULL,
    requests_at INTEGER NOT NULL DEFAULT 0,
    tokens_at   INTEGER NOT NULL DEFAULT 0
) STRICT;
