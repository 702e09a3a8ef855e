-- no-transaction
-- The runs that are in one trace now: mostly one, or as many as a caller has started in a trace of its own.
CREATE INDEX CONCURRENTLY runs_of_trace ON runs (organization_id, workspace_id, trace_id, id);
