-- A page of an organization's keys, newest first. $1 organization, $2 workspace or null, $3 user or null, $4 and $5 when
-- the last one seen was made and its digest or one below that has its id, both null for the first page; $6 rows.
--
-- Where a page begins is a bound of the index, on the first one as well: under an OR it would be looked at row by row,
-- from the newest key on.
SELECT digest, organization_id, workspace_id, user_id, scopes, name, created_by, created_at, expires_at, revoked_at,
       last_used_at
FROM api_keys
WHERE organization_id = $1 AND ($2::text IS NULL OR workspace_id = $2) AND ($3::text IS NULL OR user_id = $3)
  AND (created_at, digest) < (coalesce($4, 'infinity'::timestamptz), coalesce($5, ''::bytea))
ORDER BY created_at DESC, digest DESC LIMIT $6
