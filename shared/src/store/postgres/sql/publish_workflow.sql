-- Publishes a version. The workflow's row is locked first, so that two publishers get two numbers.
-- $1 id, $2 organization, $3 workspace, $4 name, $5 description, $6 document, $7 digest, $8 nodes, $9 edges, $10 user
WITH latest AS (
    SELECT v.id, v.version, v.digest
    FROM workflows w
    JOIN workflow_versions v ON v.id = w.latest_id
    WHERE w.organization_id = $2 AND w.workspace_id = $3 AND w.name = $4
),
bumped AS (
    INSERT INTO workflows AS w (organization_id, workspace_id, name, description, latest_version, latest_id)
    SELECT $2, $3, $4, $5, 1, $1
    WHERE NOT EXISTS (SELECT 1 FROM latest WHERE digest = $7)
    ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
    SET latest_version = w.latest_version + 1, latest_id = $1, description = $5, updated_at = now()
    RETURNING latest_version
),
added AS (
    INSERT INTO workflow_versions (id, organization_id, workspace_id, name, version, description, document, digest,
                                   node_count, edge_count, created_by)
    SELECT $1, $2, $3, $4, latest_version, $5, $6::json, $7, $8, $9, $10
    FROM bumped
    RETURNING id, version
)
SELECT id, version, true AS created FROM added
UNION ALL
SELECT id, version, false FROM latest WHERE NOT EXISTS (SELECT 1 FROM added)
