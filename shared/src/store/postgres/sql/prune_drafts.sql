-- Deletes a page of drafts that were stored long ago and have no run. One that somebody is at work on, such as whoever
-- accepts its first run, is left. $1 how long ago (ms), $2 drafts.
DELETE FROM workflow_drafts
WHERE id IN (
    SELECT id FROM workflow_drafts
    WHERE started_at IS NULL AND stored_at <= now() - $1::bigint * interval '1 ms'
    ORDER BY stored_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
