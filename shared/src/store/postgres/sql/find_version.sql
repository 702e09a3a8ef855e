-- A version of a workflow, or a draft. $1 organization, $2 workspace, $3 name, $4 number.
SELECT v.id, v.name, v.version, v.description, v.document::text AS document, v.node_count, v.edge_count, v.created_by,
       v.created_at, v.draft, w.archived_at
FROM workflows w
JOIN versions_and_drafts v
  ON v.organization_id = w.organization_id AND v.workspace_id = w.workspace_id AND v.name = w.name
WHERE w.organization_id = $1 AND w.workspace_id = $2 AND w.name = $3 AND v.version = $4
-- A process that knows no drafts may have given a draft's number to a version.
ORDER BY v.draft LIMIT 1
