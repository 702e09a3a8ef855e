-- Publishes a version. A draft of the same document with a number above that of the latest version becomes it, and no
-- number is given out.
--
-- What is decided is decided by what was there when the statement began. If the workflow has changed since, nothing is
-- written and no row is answered: then it is to be done again.
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
promoted AS MATERIALIZED (
    SELECT d.id, d.version
    FROM seen s
    JOIN workflow_drafts d ON d.version > s.latest_version
    WHERE d.organization_id = $2 AND d.workspace_id = $3 AND d.name = $4 AND d.digest = $7
      AND NOT EXISTS (SELECT 1 FROM same)
),
next AS MATERIALIZED (
    SELECT id, version FROM promoted
    UNION ALL
    SELECT $1::uuid, coalesce((SELECT greatest(latest_version, last_number) FROM seen), 0) + 1
    WHERE NOT EXISTS (SELECT 1 FROM promoted) AND NOT EXISTS (SELECT 1 FROM same)
),
changed AS (
    INSERT INTO workflows AS w (organization_id, workspace_id, name, description, latest_version, latest_id, last_number)
    SELECT $2, $3, $4, $5, version, id, version
    FROM next
    ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
    SET latest_version = EXCLUDED.latest_version, latest_id = EXCLUDED.latest_id,
        last_number = greatest(w.last_number, EXCLUDED.last_number), description = EXCLUDED.description,
        updated_at = now()
    WHERE (w.latest_id, w.latest_version, w.last_number) = (SELECT latest_id, latest_version, last_number FROM seen)
    RETURNING latest_id, latest_version
),
-- It is gone already if somebody has pruned it meanwhile, which makes no difference any more.
moved AS (
    DELETE FROM workflow_drafts d
    USING changed c
    WHERE d.id = c.latest_id
),
added AS (
    INSERT INTO workflow_versions (id, organization_id, workspace_id, name, version, description, document, digest,
                                   node_count, edge_count, created_by)
    SELECT latest_id, $2, $3, $4, latest_version, $5, $6::json, $7, $8, $9, $10
    FROM changed
    RETURNING id, version
)
SELECT id, version, id = $1 AS created, id <> $1 AS promoted, false AS draft,
       EXISTS (SELECT 1 FROM seen WHERE archived_at IS NOT NULL) AS archived
FROM added
UNION ALL
SELECT id, version, false, false, false, EXISTS (SELECT 1 FROM seen WHERE archived_at IS NOT NULL) FROM same
