-- Notes that keys are in use. $1 their digests, $2 microseconds that a note lasts. What somebody is at work on is passed
-- over: the key is used again, or it does not matter.
WITH used AS MATERIALIZED (
    SELECT digest FROM api_keys
    WHERE digest = ANY($1) AND (last_used_at IS NULL OR last_used_at <= now() - $2::bigint * interval '1 microsecond')
    ORDER BY digest
    FOR UPDATE SKIP LOCKED
)
UPDATE api_keys k SET last_used_at = now() FROM used u WHERE k.digest = u.digest
