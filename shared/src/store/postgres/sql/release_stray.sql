-- Gives back rows that the lease holds without its worker knowing: the reply to their claim was lost.
-- $1 lease, $2..$4 what the worker knows of, $5 how old a claim must be (ms): younger ones may be on their way.
WITH known AS (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[]) AS t (run_id, node_key, scope)
)
UPDATE node_runs n
SET state = 'queued', attempts = n.attempts - 1, queued_at = now(), wakes = 0, wake_at = now()
WHERE n.lease_id = $1 AND n.state = 'running' AND n.started_at < now() - $5::bigint * interval '1 ms'
  AND NOT EXISTS (SELECT 1 FROM known k
                  WHERE k.run_id = n.run_id AND k.node_key = n.node_key AND k.scope = n.scope)
