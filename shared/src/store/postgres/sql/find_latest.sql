-- The latest version of a workflow. $1 organization, $2 workspace, $3 name.
SELECT v.id, v.name, v.version, v.description, v.document::text AS document, v.node_count, v.edge_count, v.created_by,
       v.created_at, false AS draft, w.archived_at
FROM workflows w
JOIN workflow_versions v ON v.id = w.latest_id
WHERE w.organization_id = $1 AND w.workspace_id = $2 AND w.name = $3
