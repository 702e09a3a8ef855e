-- A page of the workflows, by name. $1 organization, $2 workspace, $3 the last name seen, $4 rows.
SELECT name, description, latest_version, created_at, updated_at
FROM workflows
WHERE organization_id = $1 AND workspace_id = $2 AND name > $3
ORDER BY name LIMIT $4
