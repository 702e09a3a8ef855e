-- Steps of a run, in the order of their beginning; one row of nulls for a run without more. $1 organization, $2 workspace, $3
-- run, $4 the last one seen, $5 how many, $6 bytes of values at most: what is behind so many is left for the next page.
SELECT s.*, r.ended_at IS NOT NULL AS has_ended
FROM runs r
LEFT JOIN LATERAL (
    SELECT h.id AS step_id, h.node_key, h.scope, h.step, h.attempt, h.kind, h.name, h.status, h.digest,
           h.arguments::text AS arguments, h.observation::text AS observation, h.thought, h.error::text AS error,
           h.input_tokens, h.cached_tokens, h.cache_write_tokens, h.output_tokens, h.cost_nanos, h.estimated,
           h.reserved_input_tokens, h.reserved_output_tokens, h.latency_ms, h.trace_id,
           h.span_id, h.started_at, h.expires_at, count(*) OVER () AS found,
           coalesce(sum(coalesce(octet_length(h.arguments::text), 0) + coalesce(octet_length(h.observation::text), 0)
                        + coalesce(octet_length(h.thought), 0))
                        OVER (ORDER BY h.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
    FROM (SELECT * FROM agent_trace_history WHERE run_id = r.id AND id > $4 ORDER BY id LIMIT $5) h
) s ON s.bytes_before < $6
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3
ORDER BY s.step_id
