-- What runs have done: a row for each attempt, by run, node and repetition. Nothing large is read.
-- $1 organization, $2 workspace, $3 runs, $4 activations of a run at most, $5 attempts of an activation at most, $6 rows at
-- most.
--
-- The limits within keep the planner from joining by a walk through all that there is: it does not know how few they are.
-- What an attempt waited for is in the log alone, and looked up for attempts that did wait.
SELECT w.run_id, n.node_key, n.scope, n.kind, n.state, n.error ->> 'code' AS code, n.queued_at, n.started_at, n.ended_at,
       a.outcome, a.error ->> 'code' AS attempt_code, a.started_at AS attempt_started_at, a.ended_at AS attempt_ended_at,
       CASE WHEN a.outcome = 'waiting'
            THEN (SELECT e.data -> 'waiting_for' ->> 'type'
                  FROM event_logs e
                  WHERE e.run_id = w.run_id AND e.span_id = a.span_id AND e.event = 'node.waiting'
                  LIMIT 1)
       END AS awaited
FROM unnest($3::uuid[]) WITH ORDINALITY AS w (run_id, place)
CROSS JOIN LATERAL (
    SELECT r.node_key, r.scope, r.kind, r.state, r.claim, r.error, r.queued_at, r.started_at, r.ended_at
    FROM node_runs r
    WHERE r.run_id = w.run_id AND r.organization_id = $1 AND r.workspace_id = $2 AND r.kind <> 'end'
    ORDER BY r.node_key, r.scope
    LIMIT $4
) n
LEFT JOIN LATERAL (
    SELECT t.claim, t.outcome, t.error, t.span_id, t.started_at, t.ended_at
    FROM node_attempts t
    -- What was computed on the way has had one attempt.
    WHERE n.claim > 0 AND t.run_id = w.run_id AND t.node_key = n.node_key AND t.scope = n.scope
    ORDER BY t.claim
    LIMIT $5
) a ON true
ORDER BY w.place, n.node_key, n.scope, a.claim
LIMIT $6
