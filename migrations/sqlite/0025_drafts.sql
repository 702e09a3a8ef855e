-- Versions that are tried before they are published, and workflows that take no new runs. As in PostgreSQL, where
-- processes of different versions share the tables.

ALTER TABLE workflows ADD COLUMN last_number INTEGER NOT NULL DEFAULT 0;  -- that a draft has got, or a version; the next is above it
ALTER TABLE workflows ADD COLUMN archived_at INTEGER;                     -- null: it takes new runs

-- A workflow with drafts alone is in workflows, too: its latest version has the number 0, and an id that nothing has.
CREATE TABLE workflow_drafts (
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
    stored_at       INTEGER NOT NULL,  -- last; again, it is no other draft
    started_at      INTEGER,           -- when it got its first run; null: it may be pruned
    UNIQUE (organization_id, workspace_id, name, version),
    -- Not the other way round: a look-up by the number would go by it.
    UNIQUE (digest, organization_id, workspace_id, name)
) STRICT;

CREATE INDEX workflow_drafts_unused ON workflow_drafts (stored_at) WHERE started_at IS NULL;

CREATE VIEW versions_and_drafts AS
SELECT id, organization_id, workspace_id, name, version, description, document, node_count, edge_count, created_by,
       created_at, 0 AS draft
FROM workflow_versions
UNION ALL
SELECT id, organization_id, workspace_id, name, version, description, document, node_count, edge_count, created_by,
       created_at, 1
FROM workflow_drafts;
