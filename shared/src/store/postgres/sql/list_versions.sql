-- A page of the versions of a workflow, newest first, without their documents, which may be large.
-- $1 organization, $2 workspace, $3 name, $4 the last version seen, $5 rows.
SELECT name, version, description, node_count, edge_count, created_by, created_at
FROM workflow_versions
WHERE organization_id = $1 AND workspace_id = $2 AND name = $3 AND version < $4
ORDER BY version DESC LIMIT $5
