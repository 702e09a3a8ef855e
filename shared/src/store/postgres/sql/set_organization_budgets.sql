-- Sets the budgets of an organization, each for a period; one without limits is taken away. What was warned of is warned of
-- again. $1 organization, $2 who sets them, $3 to $6 the periods with their limits.
--
-- Locks: rows of the budgets in key order, then totals in key order, as whoever writes steps takes them.
WITH held AS MATERIALIZED (
    SELECT period FROM organization_budgets WHERE organization_id = $1 ORDER BY period FOR UPDATE
),
wanted AS MATERIALIZED (
    SELECT w.*, num_nonnulls(w.max_nanos, w.max_tokens, w.max_steps) = 0 AS is_none,
           w.period || ':' || to_char(now() AT TIME ZONE 'UTC', CASE w.period WHEN 'day' THEN 'YYYY-MM-DD' ELSE 'YYYY-MM' END)
               AS bucket
    FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) w (period, max_nanos, max_tokens, max_steps)
    -- What is written and what is taken away each lock rows in an order of their own: all are held by then.
    WHERE (SELECT count(*) FROM held) >= 0
),
gone AS (
    DELETE FROM organization_budgets b
    USING wanted w
    WHERE b.organization_id = $1 AND b.period = w.period AND w.is_none
),
written AS (
    INSERT INTO organization_budgets (organization_id, period, max_nanos, max_tokens, max_steps, set_by, set_at)
    SELECT $1, w.period, w.max_nanos, w.max_tokens, w.max_steps, $2, now()
    FROM wanted w
    WHERE NOT w.is_none
    ORDER BY w.period
    ON CONFLICT (organization_id, period) DO UPDATE
    SET max_nanos = EXCLUDED.max_nanos, max_tokens = EXCLUDED.max_tokens, max_steps = EXCLUDED.max_steps,
        set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at
),
totals AS MATERIALIZED (
    SELECT t.bucket
    FROM budget_totals t
    WHERE t.organization_id = $1 AND t.bucket = ANY (ARRAY(SELECT bucket FROM wanted))
    ORDER BY t.bucket
    FOR UPDATE
)
UPDATE budget_totals t
SET warned = false
WHERE t.organization_id = $1 AND t.bucket = ANY (ARRAY(SELECT bucket FROM totals))
