-- A page of the versions of a workflow and of its drafts, newest first, without their documents, which may be large.
-- $1 organization, $2 workspace, $3 name, $4 the last version seen, $5 rows.
SELECT name, version, description, node_count, edge_count, created_by, created_at, draft
FROM versions_and_drafts
WHERE organization_id = $1 AND workspace_id = $2 AND name = $3 AND version < $4
ORDER BY version DESC LIMIT $5
