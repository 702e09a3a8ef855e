-- The budgets that hold for a step which is to begin, as they stand, and what it takes of them. Nothing is locked: it is not
-- begun. $1 run, $2 node, $3 scope, $4 step, $5 nano-dollars (none of a model without a price), $6 tokens.
SELECT b.period, b.max_nanos, b.max_tokens, b.max_steps, r.on_exhausted, now() AS answered_at,
       $5::bigint AS wish_nanos, $6::bigint AS wish_tokens,
       CASE WHEN EXISTS (
           SELECT 1 FROM agent_trace_history h
           WHERE h.run_id = $1 AND h.node_key = $2 AND h.scope = $3 AND h.step = $4
             AND h.status NOT IN ('pending', 'approved', 'denied')) THEN 0 ELSE 1 END AS wish_steps,
       coalesce(t.spent_nanos, 0)::bigint AS spent_nanos,
       least(coalesce(t.input_tokens, 0) + coalesce(t.output_tokens, 0)::numeric, 9223372036854775807)::bigint AS spent_tokens,
       coalesce(t.steps, 0)::bigint AS spent_steps,
       coalesce(t.open_nanos, 0)::bigint AS taken_nanos, coalesce(t.open_tokens, 0)::bigint AS taken_tokens,
       0::bigint AS taken_steps
FROM runs r
LEFT JOIN organization_budgets d ON d.organization_id = r.organization_id AND d.period = 'day'
LEFT JOIN organization_budgets m ON m.organization_id = r.organization_id AND m.period = 'month'
CROSS JOIN LATERAL (
    VALUES ('run', 'run:' || r.id, r.max_nanos, r.max_tokens, r.max_steps),
           ('day', 'day:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'), d.max_nanos, d.max_tokens, d.max_steps),
           ('month', 'month:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), m.max_nanos, m.max_tokens, m.max_steps)
) b (period, bucket, max_nanos, max_tokens, max_steps)
LEFT JOIN budget_totals t ON t.organization_id = r.organization_id AND t.bucket = b.bucket
WHERE r.id = $1
ORDER BY b.period
