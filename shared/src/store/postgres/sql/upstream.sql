-- What ended nodes have left behind. $1..$6: place of the value asked for, the first request that asks for it, run, scope,
-- node, whether its output is wanted; $7 bytes of outputs that may be sent. What does not fit is said not to, and so is
-- everything of the requests behind it.
WITH measured AS MATERIALIZED (
    SELECT w.place, w.request, w.with_output, n.run_id, n.node_key, n.state, n.output, n.attempts, n.span_id, n.segment,
           CASE
               WHEN NOT w.with_output OR n.output IS NULL THEN 0
               WHEN pg_column_compression(n.output) IS NULL THEN pg_column_size(n.output)
               ELSE octet_length(n.output::text)
           END AS bytes
    FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bool[])
         AS w (place, request, run_id, scope, node_key, with_output)
    JOIN node_runs n USING (run_id, node_key, scope)
)
SELECT m.place AS ord, m.request, m.fits, m.node_key, m.state,
       CASE WHEN m.with_output AND m.fits THEN m.output::text END AS output,
       CASE WHEN m.attempts > 0 THEN m.span_id END AS span_id,
       -- Only segments that are over are there: without one, the span is in the trace that the run has now.
       (SELECT s.trace_id FROM run_segments s WHERE s.run_id = m.run_id AND s.segment = m.segment) AS trace_id
FROM (SELECT *, request = 1 OR sum(bytes) OVER (ORDER BY request) <= $7 AS fits FROM measured) m
