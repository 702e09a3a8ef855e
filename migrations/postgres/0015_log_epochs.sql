-- Transaction ids, by which rows of `event_logs` are ordered and told from those that may still be joined by older
-- ones, start anew when a dump is restored into another cluster; what the rows hold does not. So the table's rows fall
-- into epochs, each from one cluster. The ids of rows go on across a restore: an epoch begins with an id, and whatever
-- lies before the last one has long been committed.

CREATE TABLE log_epochs (
    first_log_id bigint PRIMARY KEY,
    -- Whose transaction ids the rows hold: `system_identifier` of pg_control_system().
    cluster      bigint NOT NULL
);

-- Where rows of open runs are from the future, a dump has been restored already: the first program to start finds
-- another cluster than this one, and begins an epoch.
INSERT INTO log_epochs (first_log_id, cluster)
SELECT 1, CASE WHEN EXISTS (
    SELECT FROM runs r
    JOIN event_logs e ON e.run_id = r.id
    WHERE r.ended_at IS NULL AND e.commit_xid >= pg_snapshot_xmax(pg_current_snapshot())
) THEN 0 ELSE system_identifier END
FROM pg_control_system();
