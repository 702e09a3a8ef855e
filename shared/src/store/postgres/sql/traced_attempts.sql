-- Attempts of a run that have ended, each with the ids of the trace that it is in. $1 organization, $2 workspace, $3 run,
-- $4 and $5 activation and claim of the last one seen, $6 how many, $7 the kind of node that is an agent.
--
-- The last attempt of a node is on its own row, if it has ended the node; all others, and that of a node that was cancelled
-- after one, are in the table of attempts under the row's claim.
WITH page AS MATERIALIZED (
    SELECT *
    FROM (
        SELECT n.ordinal, a.claim, n.claim AS last_claim, n.node_key, n.scope, n.kind, n.publish_span_id, a.attempt, a.outcome AS ended_as,
               a.error, a.span_id, a.segment, a.started_at, a.ended_at
        FROM node_runs n
        JOIN node_attempts a ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
        WHERE n.run_id = $3 AND n.organization_id = $1 AND n.workspace_id = $2 AND n.kind <> 'end'
        UNION ALL
        SELECT n.ordinal, n.claim, n.claim, n.node_key, n.scope, n.kind, n.publish_span_id, n.attempts, n.state, n.error,
               n.span_id, n.segment, n.started_at, n.ended_at
        FROM node_runs n
        WHERE n.run_id = $3 AND n.organization_id = $1 AND n.workspace_id = $2 AND n.kind <> 'end'
          AND n.state IN ('succeeded', 'failed', 'cancelled') AND n.attempts > 0
          AND n.started_at IS NOT NULL AND n.ended_at IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM node_attempts a
                          WHERE a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
                            AND a.claim = n.claim)
    ) t
    WHERE t.span_id IS NOT NULL AND (t.ordinal, t.claim) > ($4::bigint, $5::bigint)
    ORDER BY t.ordinal, t.claim
    LIMIT $6
)
SELECT p.ordinal, p.claim, p.node_key, p.scope, p.kind, p.publish_span_id AS node_publish_span_id, p.attempt, p.ended_as,
       p.error::text AS node_error, p.span_id AS node_span_id, p.started_at AS node_started_at,
       p.ended_at AS node_ended_at,
       p.last_claim = 1 AND p.claim = 1 AND NOT EXISTS (SELECT 1 FROM node_attempts a
                                   WHERE a.run_id = $3 AND a.node_key = p.node_key AND a.scope = p.scope AND a.claim = 0)
           AS is_only,
       p.kind = $7 AS is_agent, g.tokens AS agent_tokens, g.nanos AS agent_nanos, g.iterations AS agent_iterations,
       g.provider AS agent_provider, coalesce(g.has_steps, false) AS agent_has_steps, i.parameters,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count,
       r.edge_count, r.publish_span_id, r.trace_flags, r.created_at,
       coalesce(s.trace_id, r.trace_id) AS trace_id, coalesce(s.root_span_id, r.root_span_id) AS root_span_id,
       CASE WHEN s.run_id IS NULL THEN r.trace_state ELSE s.trace_state END AS trace_state
FROM page p
JOIN runs r ON r.id = $3
-- Only segments that are over are there: without one, the span is in the trace that the run has now.
LEFT JOIN run_segments s ON s.run_id = r.id AND s.segment = p.segment
LEFT JOIN LATERAL (
    SELECT least(coalesce(sum(CASE WHEN h.input_tokens IS NOT NULL THEN h.input_tokens + h.output_tokens
                                   WHEN h.estimated THEN h.reserved_input_tokens + h.reserved_output_tokens END)
                     FILTER (WHERE h.status <> 'started'), 0), 9223372036854775807)::bigint AS tokens,
           least(coalesce(sum(h.cost_nanos), 0), 9223372036854775807)::bigint AS nanos,
           count(DISTINCT h.step) FILTER (WHERE h.kind = 'model' AND h.status = 'succeeded') AS iterations,
           max(h.provider) AS provider, bool_or(h.claim = p.claim) AS has_steps
    FROM agent_trace_history h
    WHERE h.run_id = $3 AND h.node_key = p.node_key AND h.scope = p.scope AND h.claim <= p.claim
) g ON p.kind = $7
-- The parameters may hold what cannot be taken apart: \u0000.
LEFT JOIN LATERAL (
    SELECT CASE WHEN strpos(n.input::text, '\u0000') = 0
                THEN json_build_object('framework', n.input -> 'framework', 'provider', n.input -> 'provider',
                                       'model', n.input -> 'model')::text END AS parameters
    FROM node_runs n
    WHERE n.run_id = $3 AND n.node_key = p.node_key AND n.scope = p.scope
) i ON p.kind = $7
ORDER BY p.ordinal, p.claim
