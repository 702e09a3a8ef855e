-- The runs that are in the way of others: those with the same id, and those with the same key of the same workspace.
-- $1 ids, $2..$4 keys. A look-up for each, each by its own index: one condition over both would read all runs, and so
-- might a join of many.
SELECT r.id, r.organization_id, r.workspace_id, r.idempotency_key, r.idempotency_digest, r.version, r.created_at
FROM unnest($1::uuid[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM runs WHERE id = w.id LIMIT 1) r
UNION ALL
SELECT r.id, r.organization_id, r.workspace_id, r.idempotency_key, r.idempotency_digest, r.version, r.created_at
FROM unnest($2::text[], $3::text[], $4::text[]) AS w (organization_id, workspace_id, idempotency_key)
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE organization_id = w.organization_id AND workspace_id = w.workspace_id
      AND idempotency_key = w.idempotency_key AND idempotency_key IS NOT NULL
    LIMIT 1
) r
