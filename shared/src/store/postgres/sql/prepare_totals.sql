-- Makes the totals exist that steps of these runs count in now. $1 runs.
INSERT INTO budget_totals (organization_id, bucket)
SELECT DISTINCT r.organization_id, b.bucket
FROM runs r
CROSS JOIN LATERAL (
    VALUES ('run:' || r.id), ('day:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')),
           ('month:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'))
) b (bucket)
WHERE r.id = ANY($1)
  AND NOT EXISTS (SELECT 1 FROM budget_totals t WHERE t.organization_id = r.organization_id AND t.bucket = b.bucket)
ORDER BY r.organization_id, b.bucket
ON CONFLICT DO NOTHING
