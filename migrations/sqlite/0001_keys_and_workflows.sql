-- Who may call, and what may be run.
--
-- Throughout: identifiers are text as people write them, times are microseconds since 1970 in UTC
-- (integers compare exactly), booleans are 0 and 1, JSON is text, kept byte by byte.

CREATE TABLE api_keys (
    digest          BLOB    PRIMARY KEY,   -- SHA-256; the key itself is stored nowhere
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE workflows (
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    description     TEXT,
    latest_version  INTEGER NOT NULL,
    latest_id       TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organization_id, workspace_id, name)
) STRICT;

-- Insert-only: a version never changes.
CREATE TABLE workflow_versions (
    id              TEXT    PRIMARY KEY NOT NULL,
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    description     TEXT,
    document        TEXT    NOT NULL CHECK (json_valid(document)),
    digest          BLOB    NOT NULL,
    node_count      INTEGER NOT NULL,
    edge_count      INTEGER NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (organization_id, workspace_id, name, version)
) STRICT;
