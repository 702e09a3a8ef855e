-- Revokes a key. $1 organization, $2 and $3 the first and the last digest that have its id.
--
-- The organization's good keys that may make others are locked with it, in the order of their digests: two calls that
-- would revoke the last two of them at once go one after the other, and the second sees what the first did.
WITH locked AS MATERIALIZED (
    SELECT digest, revoked_at IS NOT NULL AS is_revoked, digest BETWEEN $2 AND $3 AS is_meant,
           revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
               AND ' ' || scopes || ' ' LIKE '% admin %' AS is_admin
    FROM api_keys
    WHERE organization_id = $1
      AND (digest BETWEEN $2 AND $3
           OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
              AND ' ' || scopes || ' ' LIKE '% admin %')
    ORDER BY digest
    FOR UPDATE
),
judged AS MATERIALIZED (
    SELECT digest, is_revoked,
           is_admin AND NOT EXISTS (SELECT 1 FROM locked WHERE is_admin AND NOT is_meant) AS is_last_admin
    FROM locked WHERE is_meant
),
revoked AS (
    UPDATE api_keys k SET revoked_at = now()
    FROM judged j
    WHERE k.digest = j.digest AND NOT j.is_revoked AND NOT j.is_last_admin
)
SELECT digest, is_last_admin FROM judged
