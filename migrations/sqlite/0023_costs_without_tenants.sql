-- Every question names the tenant.
DROP INDEX IF EXISTS model_cost_logs_of_run;
