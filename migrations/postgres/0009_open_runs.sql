-- Runs that are at work or about to be: few beside those that have ended.
CREATE INDEX runs_open ON runs (organization_id, workspace_id, id) WHERE ended_at IS NULL AND suspended_at IS NULL;
