-- A page of the workflows, by name. $1 organization, $2 workspace, $3 the last name seen, $4 rows.
SELECT name, description, latest_version, created_at, updated_at, archived_at
FROM workflows w
WHERE organization_id = $1 AND workspace_id = $2 AND name > $3
  -- Of a workflow without any version all drafts may have been pruned: what is left keeps its count.
  AND (latest_version > 0
       OR EXISTS (SELECT 1 FROM workflow_drafts d
                  WHERE d.organization_id = w.organization_id AND d.workspace_id = w.workspace_id AND d.name = w.name))
ORDER BY name LIMIT $4
