-- Versions that are tried before they are published, and workflows that take no new runs.
--
-- Drafts have a table of their own. A process of the version before takes the highest number in workflow_versions for
-- the latest version, and would refuse all runs of a workflow with a newer draft there. A run of a draft waits for a
-- worker that knows where to read it.

ALTER TABLE workflows
    ADD COLUMN last_number integer NOT NULL DEFAULT 0,  -- that a draft has got, or a version; the next is above it
    ADD COLUMN archived_at timestamptz;                 -- null: it takes new runs

-- A workflow with drafts alone is in workflows, too: its latest version has the number 0, and an id that nothing has.
CREATE TABLE workflow_drafts (
    id              uuid        PRIMARY KEY,
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    name            text        NOT NULL,
    version         integer     NOT NULL,
    description     text,
    document        json        NOT NULL,
    digest          bytea       NOT NULL,
    node_count      integer     NOT NULL,
    edge_count      integer     NOT NULL,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    stored_at       timestamptz NOT NULL DEFAULT now(),  -- last; again, it is no other draft
    started_at      timestamptz,                         -- when it got its first run; null: it may be pruned
    UNIQUE (organization_id, workspace_id, name, version),
    -- Not the other way round: a look-up by the number would go by it.
    UNIQUE (digest, organization_id, workspace_id, name)
);

CREATE INDEX workflow_drafts_unused ON workflow_drafts (stored_at) WHERE started_at IS NULL;

CREATE VIEW versions_and_drafts AS
SELECT id, organization_id, workspace_id, name, version, description, document, node_count, edge_count, created_by,
       created_at, false AS draft
FROM workflow_versions
UNION ALL
SELECT id, organization_id, workspace_id, name, version, description, document, node_count, edge_count, created_by,
       created_at, true
FROM workflow_drafts;
