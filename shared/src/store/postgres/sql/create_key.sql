-- Makes a key. $1 digest, $2 organization, $3 workspace, $4 user, $5 scopes, $6 name, $7 who makes it, $8 microseconds
-- that it is good, $9 when it ends, $10 when it ends at the latest, $11 good keys that the organization may have, $12 keys
-- that are over that it keeps.
WITH asked AS MATERIALIZED (
    SELECT least(coalesce(now() + $8::bigint * interval '1 microsecond', $9::timestamptz), $10::timestamptz) AS expires_at
),
over AS MATERIALIZED (
    SELECT digest FROM api_keys
    WHERE organization_id = $2 AND created_by IS NOT NULL AND (revoked_at IS NOT NULL OR expires_at <= now())
    ORDER BY least(revoked_at, expires_at) DESC, digest OFFSET $12
),
-- What somebody is at work on makes way the next time.
oldest AS MATERIALIZED (
    SELECT digest FROM api_keys WHERE digest IN (SELECT digest FROM over) ORDER BY digest FOR UPDATE SKIP LOCKED
),
forgotten AS (
    DELETE FROM api_keys k USING oldest o WHERE k.digest = o.digest
),
judged AS MATERIALIZED (
    SELECT expires_at, coalesce(expires_at <= now(), false) AS is_past,
           (SELECT count(*) FROM api_keys
            WHERE organization_id = $2 AND digest <> $1 AND revoked_at IS NULL
              AND (expires_at IS NULL OR expires_at > now())) >= $11 AS is_full
    FROM asked
),
made AS (
    INSERT INTO api_keys (digest, organization_id, workspace_id, user_id, scopes, name, created_by, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, expires_at FROM judged WHERE NOT is_past AND NOT is_full
    -- A repetition: nothing changes, and the row is returned.
    ON CONFLICT (digest) DO UPDATE SET digest = EXCLUDED.digest
    WHERE api_keys.organization_id = EXCLUDED.organization_id
    RETURNING *
)
SELECT j.is_past, j.is_full, m.digest, m.organization_id, m.workspace_id, m.user_id, m.scopes, m.name, m.created_by,
       m.created_at, m.expires_at, m.revoked_at, m.last_used_at
FROM judged j LEFT JOIN made m ON true
