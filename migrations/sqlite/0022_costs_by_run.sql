-- What runs cost, in the order of their ids.
CREATE INDEX model_cost_logs_by_run ON model_cost_logs (organization_id, workspace_id, run_id);
