-- Begins an epoch of the log where the last one is of another cluster. Nobody may write rows of the log meanwhile:
-- those that are written come before the epoch, and all others behind.
INSERT INTO log_epochs (first_log_id, cluster)
SELECT CASE WHEN log.is_called THEN log.last_value + 1 ELSE log.last_value END, here.system_identifier
FROM event_logs_id_seq log, pg_control_system() here
WHERE here.system_identifier <> (SELECT cluster FROM log_epochs ORDER BY first_log_id DESC LIMIT 1)
-- Nothing has been written since the last one began.
ON CONFLICT (first_log_id) DO UPDATE SET cluster = excluded.cluster
