-- Steps of nodes, what calls to models cost, and what may be spent on them.

-- The journal: one row for each try of a step. Payloads are json, not jsonb, for the reason that those of runs are.
CREATE TABLE agent_trace_history (
    id                    bigint      GENERATED ALWAYS AS IDENTITY,  -- the order of beginning
    run_id                uuid        NOT NULL,
    node_key              text        NOT NULL,
    scope                 text        NOT NULL,
    step                  integer     NOT NULL,   -- from 1
    attempt               integer     NOT NULL,   -- which try of the step, from 1
    organization_id       text        NOT NULL,
    workspace_id          text        NOT NULL,
    user_id               text        NOT NULL,
    node_kind             text        NOT NULL,
    claim                 integer     NOT NULL,   -- of the attempt of the node that made it
    lease_id              uuid        NOT NULL,
    kind                  text        NOT NULL,   -- model, tool
    name                  text        NOT NULL,
    status                text        NOT NULL,
    digest                bytea       NOT NULL,
    arguments             json,
    observation           json,
    thought               text,
    error                 json,
    provider              text,                   -- null unless something was reserved for a call to it
    model                 text,
    response_model        text,
    price_input           bigint,                 -- nano-dollars a million tokens, as reserved; null: no price
    price_output          bigint,
    price_cache_read      bigint,
    price_cache_write     bigint,
    reserved_nanos        bigint,                 -- null: no price
    reserved_input_tokens bigint,
    reserved_output_tokens bigint,
    reserved_day          text,                   -- 2026-11-29, in UTC; its first seven digits are the month
    input_tokens          bigint,
    cached_tokens         bigint,
    cache_write_tokens    bigint,
    output_tokens         bigint,
    cost_nanos            bigint,                 -- null: no price, or not over yet
    estimated             boolean     NOT NULL DEFAULT false,
    latency_ms            bigint,
    trace_id              text        NOT NULL,
    span_id               text        NOT NULL,
    parent_span_id        text,
    decided_by            text,
    expires_at            timestamptz,            -- of the decision about it
    started_at            timestamptz NOT NULL,
    ended_at              timestamptz,
    PRIMARY KEY (run_id, node_key, scope, step, attempt)
);

CREATE INDEX agent_trace_history_started ON agent_trace_history (run_id, node_key, scope) WHERE status = 'started';
CREATE INDEX agent_trace_history_of_run ON agent_trace_history (run_id, id);

-- One row for each request to a provider. Insert-only.
CREATE TABLE model_cost_logs (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ts                 timestamptz NOT NULL DEFAULT now(),
    organization_id    text        NOT NULL,
    workspace_id       text        NOT NULL,
    user_id            text        NOT NULL,
    run_id             uuid        NOT NULL,
    workflow           text        NOT NULL,
    node_key           text        NOT NULL,
    scope              text        NOT NULL,
    step               integer     NOT NULL,
    attempt            integer     NOT NULL,
    provider           text        NOT NULL,
    model              text        NOT NULL,
    response_model     text,
    status             text        NOT NULL,
    input_tokens       bigint      NOT NULL,
    cached_tokens      bigint      NOT NULL,
    cache_write_tokens bigint      NOT NULL,
    output_tokens      bigint      NOT NULL,
    cost_nanos         bigint,                 -- null: no price
    estimated          boolean     NOT NULL,   -- settled without the provider's own count
    latency_ms         bigint,
    trace_id           text        NOT NULL,
    span_id            text        NOT NULL
);

CREATE INDEX model_cost_logs_of_tenant ON model_cost_logs (organization_id, workspace_id, ts);
CREATE INDEX model_cost_logs_of_run ON model_cost_logs (run_id);

-- What was spent and is reserved: of a run (`run:…`), and of an organization in a day (`day:2026-11-29`) and a month
-- (`month:2026-11`). Kept for every call, so that a budget that is set later counts what was spent before.
CREATE TABLE budget_totals (
    organization_id    text    NOT NULL,
    bucket             text    NOT NULL,
    spent_nanos        bigint  NOT NULL DEFAULT 0,
    open_nanos         bigint  NOT NULL DEFAULT 0,
    open_tokens        bigint  NOT NULL DEFAULT 0,
    input_tokens       bigint  NOT NULL DEFAULT 0,
    cached_tokens      bigint  NOT NULL DEFAULT 0,
    cache_write_tokens bigint  NOT NULL DEFAULT 0,
    output_tokens      bigint  NOT NULL DEFAULT 0,
    calls              bigint  NOT NULL DEFAULT 0,
    unpriced_calls     bigint  NOT NULL DEFAULT 0,
    steps              bigint  NOT NULL DEFAULT 0,
    warned             boolean NOT NULL DEFAULT false,
    PRIMARY KEY (organization_id, bucket)
) WITH (fillfactor = 50);

CREATE TABLE organization_budgets (
    organization_id text        NOT NULL,
    period          text        NOT NULL,   -- day, month
    max_nanos       bigint,
    max_tokens      bigint,
    max_steps       bigint,
    set_by          text        NOT NULL,
    set_at          timestamptz NOT NULL,
    PRIMARY KEY (organization_id, period)
);

-- When the next call may start at a provider, in microseconds since 1970, if it came alone: see domain/rate.rs.
CREATE TABLE rate_buckets (
    provider    text   PRIMARY KEY,
    requests_at bigint NOT NULL DEFAULT 0,
    tokens_at   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
