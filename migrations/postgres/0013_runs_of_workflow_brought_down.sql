-- no-transaction
-- Of those, what was brought to an end, or is being. Of the other states there is no such index: see 0006.
CREATE INDEX CONCURRENTLY runs_of_workflow_brought_down
    ON runs (organization_id, workspace_id, workflow, cancel_state, id) WHERE cancel_state IS NOT NULL;
