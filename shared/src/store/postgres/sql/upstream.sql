-- What ended nodes have left behind. $1..$4: request, run, scope, node; $5 whether its output is wanted.
SELECT w.ord, n.node_key, n.state,
       CASE WHEN w.with_output THEN n.output::text END AS output,
       CASE WHEN n.attempts > 0 THEN n.span_id END AS span_id,
       -- Only segments that are over are there: without one, the span is in the trace that the run has now.
       (SELECT s.trace_id FROM run_segments s WHERE s.run_id = n.run_id AND s.segment = n.segment) AS trace_id
FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::bool[]) AS w (ord, run_id, scope, node_key, with_output)
JOIN node_runs n USING (run_id, node_key, scope)
