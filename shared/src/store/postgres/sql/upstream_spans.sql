-- Which nodes led to activations, and under which spans they ran last. The parameters are those of `FindUpstream` in
-- recovery.rs.
WITH asked AS (
    SELECT k.ord, k.run_id, k.node_key, k.scope, r.version_id, r.trace_id
    FROM {keys} k
    JOIN runs r ON r.id = k.run_id
),
-- A document may be large, and many runs may be of the same.
edges AS MATERIALIZED (
    SELECT v.id AS version_id, e.place, e.edge ->> 'from' AS from_key, e.edge ->> 'to' AS to_key
    FROM versions_and_drafts v
    CROSS JOIN LATERAL json_array_elements(v.document -> 'edges') WITH ORDINALITY AS e (edge, place)
    WHERE v.id IN (SELECT version_id FROM asked)
)
SELECT a.ord, n.node_key, n.span_id, coalesce(s.trace_id, a.trace_id) AS trace_id
FROM asked a
JOIN edges e ON e.version_id = a.version_id AND e.to_key = a.node_key
JOIN node_runs n ON n.run_id = a.run_id AND n.node_key = e.from_key AND n.scope = a.scope
-- Only segments that are over are there.
LEFT JOIN run_segments s ON s.run_id = n.run_id AND s.segment = n.segment
WHERE n.attempts > 0 AND n.span_id IS NOT NULL
GROUP BY a.ord, a.trace_id, n.node_key, n.span_id, s.trace_id
ORDER BY a.ord, min(e.place)
