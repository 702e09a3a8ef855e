-- no-transaction
-- What runs cost, in the order of their ids: a page of them ends with its last run.
CREATE INDEX CONCURRENTLY model_cost_logs_by_run ON model_cost_logs (organization_id, workspace_id, run_id);
