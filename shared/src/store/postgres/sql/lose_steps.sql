-- Settles steps that are under way although the claim that made them does not run any more. $1 steps at most.
--
-- It waits for nobody: steps and totals that somebody holds are left for another time. A claim that does not run never
-- runs again, so no row of a node is locked.
WITH found AS MATERIALIZED (
    SELECT h.run_id, h.node_key, h.scope, h.step, h.attempt, h.organization_id, h.provider, h.reserved_day
    FROM agent_trace_history h
    WHERE h.status = 'started'
      -- A subquery that cannot become a join: the planner would compare every step with every row that is running.
      AND NOT coalesce((
          SELECT bool_or(n.state = 'running' AND n.claim = h.claim) FROM node_runs n
          WHERE n.run_id = h.run_id AND n.node_key = h.node_key AND n.scope = h.scope), false)
    ORDER BY h.run_id, h.node_key, h.scope
    LIMIT $1
    FOR UPDATE OF h SKIP LOCKED
),
-- The planner takes a limit that it does not know for a tenth of all rows. The number is the most that is ever asked
-- for.
stranded AS MATERIALIZED (
    SELECT * FROM found LIMIT 200
),
needed AS (
    SELECT s.run_id, s.node_key, s.scope, s.step, s.attempt, s.organization_id, b.bucket
    FROM stranded s
    CROSS JOIN LATERAL (VALUES ('run:' || s.run_id), ('day:' || s.reserved_day), ('month:' || left(s.reserved_day, 7)))
        b (bucket)
    WHERE s.provider IS NOT NULL
),
totals AS MATERIALIZED (
    SELECT t.organization_id, t.bucket
    FROM (SELECT DISTINCT organization_id, bucket FROM needed) n
    JOIN budget_totals t USING (organization_id, bucket)
    FOR UPDATE OF t SKIP LOCKED
),
free AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope, n.step, n.attempt
    FROM needed n
    JOIN totals t ON t.organization_id = n.organization_id AND t.bucket = n.bucket
    GROUP BY n.run_id, n.node_key, n.scope, n.step, n.attempt
    HAVING count(*) = 3
    UNION ALL
    SELECT s.run_id, s.node_key, s.scope, s.step, s.attempt FROM stranded s WHERE s.provider IS NULL
),
lost AS (
    UPDATE agent_trace_history h
    SET status = 'lost', ended_at = now(), cost_nanos = h.reserved_nanos, estimated = h.provider IS NOT NULL
    FROM free f
    WHERE h.run_id = f.run_id AND h.node_key = f.node_key AND h.scope = f.scope AND h.step = f.step AND h.attempt = f.attempt
    RETURNING h.run_id, h.node_key, h.scope, h.node_kind, h.step, h.attempt, h.kind, h.name, h.provider, h.model,
              h.reserved_input_tokens, h.reserved_output_tokens, h.reserved_nanos, h.reserved_day, h.cost_nanos, h.trace_id,
              h.span_id, h.parent_span_id, h.started_at, h.ended_at, h.organization_id, h.workspace_id, h.user_id
),
charged AS (
    INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, run_id, workflow, node_key, scope, step, attempt,
                                 provider, model, status, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
                                 cost_nanos, estimated, trace_id, span_id)
    SELECT l.organization_id, l.workspace_id, l.user_id, l.run_id, r.workflow, l.node_key, l.scope, l.step, l.attempt,
           l.provider, l.model, 'lost', l.reserved_input_tokens, 0, 0, l.reserved_output_tokens, l.reserved_nanos, true,
           l.trace_id, l.span_id
    FROM lost l
    JOIN runs r ON r.id = l.run_id
    WHERE l.provider IS NOT NULL
),
counted AS (
    UPDATE budget_totals t
    SET spent_nanos    = least(t.spent_nanos + c.nanos, 9223372036854775807)::bigint,
        open_nanos     = greatest(t.open_nanos - c.nanos, 0)::bigint,
        open_tokens    = greatest(t.open_tokens - c.input_tokens - c.output_tokens, 0)::bigint,
        input_tokens   = least(t.input_tokens + c.input_tokens, 9223372036854775807)::bigint,
        output_tokens  = least(t.output_tokens + c.output_tokens, 9223372036854775807)::bigint,
        calls          = t.calls + c.calls,
        unpriced_calls = t.unpriced_calls + c.unpriced_calls
    FROM (
        SELECT l.organization_id, b.bucket, coalesce(sum(l.reserved_nanos), 0) AS nanos,
               sum(l.reserved_input_tokens) AS input_tokens, sum(l.reserved_output_tokens) AS output_tokens,
               count(*) AS calls, count(*) FILTER (WHERE l.reserved_nanos IS NULL) AS unpriced_calls
        FROM lost l
        CROSS JOIN LATERAL (VALUES ('run:' || l.run_id), ('day:' || l.reserved_day), ('month:' || left(l.reserved_day, 7)))
            b (bucket)
        WHERE l.provider IS NOT NULL
        GROUP BY l.organization_id, b.bucket
    ) c
    WHERE t.organization_id = c.organization_id AND t.bucket = c.bucket
)
SELECT l.node_key, l.scope, l.node_kind, l.step, l.attempt, l.kind, l.name, l.provider, l.cost_nanos, l.trace_id, l.span_id,
       l.parent_span_id, l.started_at, l.ended_at, l.reserved_input_tokens, l.reserved_output_tokens,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count,
       r.edge_count, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at
FROM lost l
JOIN runs r ON r.id = l.run_id
