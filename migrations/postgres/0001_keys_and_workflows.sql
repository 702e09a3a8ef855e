-- Who may call, and what may be run.

CREATE TABLE api_keys (
    digest          bytea       PRIMARY KEY,   -- SHA-256; the key itself is stored nowhere
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    user_id         text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workflows (
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    name            text        NOT NULL,
    description     text,
    latest_version  integer     NOT NULL,
    latest_id       uuid        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, workspace_id, name)
);

-- Insert-only: a version never changes.
CREATE TABLE workflow_versions (
    id              uuid        PRIMARY KEY,
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    name            text        NOT NULL,
    version         integer     NOT NULL,
    description     text,
    document        json        NOT NULL,      -- json, not jsonb: kept byte by byte, only ever read whole
    digest          bytea       NOT NULL,
    node_count      integer     NOT NULL,
    edge_count      integer     NOT NULL,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, workspace_id, name, version)
);
