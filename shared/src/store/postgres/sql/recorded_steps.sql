-- Everything that is recorded of the steps of an activation. $1 run, $2 node, $3 scope, $4 bytes at most. What is more is
-- measured and not sent.
SELECT m.step, m.attempt, m.kind, m.name, m.status, m.digest, m.fits,
       CASE WHEN m.fits THEN m.arguments::text END AS arguments, CASE WHEN m.fits THEN m.observation::text END AS observation,
       CASE WHEN m.fits THEN m.thought END AS thought, m.error::text AS error, m.input_tokens, m.cached_tokens,
       m.cache_write_tokens, m.output_tokens, m.cost_nanos, m.estimated, m.reserved_input_tokens,
       m.reserved_output_tokens, m.latency_ms, m.span_id, m.started_at, m.expires_at
FROM (
    SELECT h.*,
           sum(coalesce(octet_length(h.arguments::text), 0) + coalesce(octet_length(h.observation::text), 0)
               + coalesce(octet_length(h.thought), 0)) OVER (ORDER BY h.step, h.attempt) <= $4 AS fits
    FROM agent_trace_history h
    WHERE h.run_id = $1 AND h.node_key = $2 AND h.scope = $3
) m
ORDER BY m.step, m.attempt
