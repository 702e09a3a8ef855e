-- no-transaction
-- The runs that were in one trace before.
CREATE INDEX CONCURRENTLY run_segments_of_trace ON run_segments (organization_id, workspace_id, trace_id, run_id);
