-- The runs of one workflow, which may be few among very many.
CREATE INDEX runs_of_workflow ON runs (organization_id, workspace_id, workflow, id);
