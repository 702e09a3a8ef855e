-- Stores a draft, unless the document is that of the latest version or of a draft already, which is kept for as long
-- again then. As in publish_workflow.sql, no row is answered where the workflow has changed since the statement began.
-- $1 id, $2 organization, $3 workspace, $4 name, $5 description, $6 document, $7 digest, $8 nodes, $9 edges, $10 user
WITH seen AS MATERIALIZED (
    SELECT latest_id, latest_version, last_number, archived_at
    FROM workflows
    WHERE organization_id = $2 AND workspace_id = $3 AND name = $4
),
same AS MATERIALIZED (
    SELECT v.id, v.version
    FROM seen s
    JOIN workflow_versions v ON v.id = s.latest_id
    WHERE v.digest = $7
),
-- Waits for whoever prunes or promotes it, and finds none after that.
kept AS (
    UPDATE workflow_drafts
    SET stored_at = now()
    WHERE organization_id = $2 AND workspace_id = $3 AND name = $4 AND digest = $7
      AND NOT EXISTS (SELECT 1 FROM same)
    RETURNING id, version
),
counted AS (
    INSERT INTO workflows AS w (organization_id, workspace_id, name, latest_version, latest_id, last_number)
    SELECT $2, $3, $4, 0, '00000000-0000-0000-0000-000000000000'::uuid,
           coalesce((SELECT greatest(latest_version, last_number) FROM seen), 0) + 1
    WHERE NOT EXISTS (SELECT 1 FROM same) AND NOT EXISTS (SELECT 1 FROM kept)
    ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
    SET last_number = EXCLUDED.last_number
    WHERE (w.latest_id, w.latest_version, w.last_number) = (SELECT latest_id, latest_version, last_number FROM seen)
    RETURNING last_number
),
added AS (
    INSERT INTO workflow_drafts (id, organization_id, workspace_id, name, version, description, document, digest,
                                 node_count, edge_count, created_by)
    SELECT $1, $2, $3, $4, last_number, $5, $6::json, $7, $8, $9, $10
    FROM counted
    RETURNING id, version
)
SELECT a.id, a.version, a.created, false AS promoted, a.draft,
       EXISTS (SELECT 1 FROM seen WHERE archived_at IS NOT NULL) AS archived
FROM (
    SELECT id, version, true AS created, true AS draft FROM added
    UNION ALL
    SELECT id, version, false, true FROM kept
    UNION ALL
    SELECT id, version, false, false FROM same
) a
