-- Archives a workflow, or takes that back; again, it changes nothing. One of which all drafts were pruned is not there.
-- $1 organization, $2 workspace, $3 name, $4 whether it is to be archived.
UPDATE workflows w
SET archived_at = CASE WHEN $4 THEN coalesce(archived_at, now()) END
WHERE organization_id = $1 AND workspace_id = $2 AND name = $3
  AND (latest_version > 0
       OR EXISTS (SELECT 1 FROM workflow_drafts d WHERE d.organization_id = $1 AND d.workspace_id = $2 AND d.name = $3))
RETURNING name, description, latest_version, created_at, updated_at, archived_at
