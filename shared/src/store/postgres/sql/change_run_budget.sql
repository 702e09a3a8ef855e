-- Changes parts of the budget of a run. $1 organization, $2 workspace, $3 run, $4 data to log; then of each part whether it is
-- to be another and which: $5 and $6 money, $7 and $8 tokens, $9 and $10 steps, $11 and $12 deadline; $13 what becomes of a
-- node that they stop, or null.
--
-- What is not named stays as the row has it when it is this statement's turn, so nobody puts back what others have
-- changed meanwhile.
--
-- It locks the run and its total, in this order, and no node: of a run that is busy some node is always held by somebody.
-- What waits for the budget, or is about to because it was refused by the limits of before, signal_nodes.sql sees, which
-- begins when this is done.
WITH found AS (
    SELECT id, organization_id
    FROM runs
    WHERE id = $3 AND organization_id = $1 AND workspace_id = $2
),
to_change AS MATERIALIZED (
    SELECT r.id
    FROM found f
    JOIN runs r ON r.id = f.id
    WHERE r.state IN ('queued', 'running', 'suspended') AND r.cancel_requested_at IS NULL
    FOR UPDATE OF r
),
changed AS (
    UPDATE runs r
    SET max_nanos       = CASE WHEN $5 THEN $6 ELSE r.max_nanos END,
        max_tokens      = CASE WHEN $7 THEN $8 ELSE r.max_tokens END,
        max_steps       = CASE WHEN $9 THEN $10 ELSE r.max_steps END,
        deadline_at     = CASE WHEN $11 THEN $12 ELSE r.deadline_at END,
        deadline_due_at = CASE WHEN $11 THEN $12 ELSE r.deadline_due_at END,
        on_exhausted    = coalesce($13, r.on_exhausted)
    FROM to_change c
    WHERE r.id = c.id
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id, r.max_nanos, r.max_tokens,
              r.max_steps, r.deadline_at, r.on_exhausted
),
warned_anew AS (
    UPDATE budget_totals t
    SET warned = false
    FROM changed c
    WHERE t.organization_id = c.organization_id AND t.bucket = 'run:' || c.id
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, data, trace_id, span_id)
    SELECT organization_id, workspace_id, user_id, id, 'info', 'budget.changed', 'the budget of the run was changed',
           $4::json, trace_id, root_span_id
    FROM changed
    -- log: written
)
-- log: answer
SELECT c.id IS NOT NULL AS is_changed, c.max_nanos, c.max_tokens, c.max_steps, c.deadline_at, c.on_exhausted,
       t.spent_nanos, t.input_tokens, t.cached_tokens, t.cache_write_tokens, t.output_tokens, t.calls, t.unpriced_calls,
       t.steps
FROM found f
LEFT JOIN changed c ON c.id = f.id
LEFT JOIN budget_totals t ON t.organization_id = f.organization_id AND t.bucket = 'run:' || f.id
