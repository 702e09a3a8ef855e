-- Steps of a run that were made and are over, each with the ids of the trace that it is in. $1 organization, $2 workspace,
-- $3 run, $4 the last one seen, $5 how many.
--
-- Of a node's parameters and of what a model has answered, which may be large, only what stands on spans is taken; nothing
-- where they hold what cannot be taken apart: \u0000.
WITH page AS MATERIALIZED (
    SELECT *
    FROM agent_trace_history h
    WHERE h.run_id = $3 AND h.organization_id = $1 AND h.workspace_id = $2 AND h.id > $4
      AND h.status IN ('succeeded', 'failed', 'refused', 'lost') AND h.ended_at IS NOT NULL
    ORDER BY h.id
    LIMIT $5
),
inputs AS MATERIALIZED (
    SELECT n.node_key, n.scope,
           CASE WHEN strpos(n.input::text, '\u0000') = 0
                THEN json_build_object(
                    'temperature', n.input -> 'temperature', 'top_p', n.input -> 'top_p', 'seed', n.input -> 'seed',
                    'stop', n.input -> 'stop', 'stream', n.input -> 'stream',
                    'has_schema', coalesce(json_typeof(n.input -> 'schema'), 'null') <> 'null',
                    'http_tools', CASE WHEN json_typeof(n.input -> 'tools') = 'array'
                                       THEN coalesce((SELECT json_agg(t.tool -> 'http' -> 'name')
                                                      FROM json_array_elements(n.input -> 'tools') t (tool)
                                                      WHERE json_typeof(t.tool -> 'http') = 'object'), '[]') END)::text
           END AS parameters
    FROM (SELECT DISTINCT node_key, scope FROM page) p
    JOIN node_runs n ON n.run_id = $3 AND n.node_key = p.node_key AND n.scope = p.scope
)
SELECT h.id AS step_id, h.node_key, h.scope, h.node_kind, h.step, h.attempt AS step_attempt, h.kind AS step_kind, h.name,
       h.status, h.provider, h.response_model, h.error::text AS step_error, h.reserved_input_tokens,
       h.reserved_output_tokens, h.input_tokens, h.cached_tokens, h.cache_write_tokens, h.output_tokens, h.cost_nanos,
       h.estimated, h.latency_ms, h.span_id AS step_span_id, h.parent_span_id, h.started_at AS step_started_at,
       h.ended_at AS step_ended_at, i.parameters,
       CASE WHEN h.kind = 'model' AND h.status = 'succeeded' AND strpos(h.observation::text, '\u0000') = 0
            THEN h.observation ->> 'finish_reason' END AS finish_reason,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count,
       r.edge_count, r.publish_span_id, r.trace_flags, r.created_at, h.trace_id,
       coalesce(s.root_span_id, r.root_span_id) AS root_span_id,
       CASE WHEN s.run_id IS NULL THEN r.trace_state ELSE s.trace_state END AS trace_state
FROM page h
JOIN runs r ON r.id = h.run_id
LEFT JOIN run_segments s ON s.run_id = h.run_id AND s.trace_id = h.trace_id
LEFT JOIN inputs i ON i.node_key = h.node_key AND i.scope = h.scope
ORDER BY h.id
