-- no-transaction
-- Every question names the tenant; a walk along this one would pass by everybody's rows.
DROP INDEX CONCURRENTLY IF EXISTS model_cost_logs_of_run;
