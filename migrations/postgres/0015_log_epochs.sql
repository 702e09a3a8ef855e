-- Transaction ids, by which rows of `event_logs` are ordered and told from those that may still be joined by older
-- ones, start anew when a dump is restored into another cluster; what the rows hold does not. So the table's rows fall
-- into epochs, each from one cluster. The ids of rows go on across a restore: an epoch begins with an id, and whatever
-- lies before the last one has long been committed.

CREATE TABLE log_epochs (
    first_log_id bigint PRIMARY KEY,
    -- Whose transaction ids the rows hold: `system_identifier` of pg_control_system(), or 0 where that is not known.
    cluster      bigint NOT NULL
);

-- Whose the rows are that are there already, nobody has noted: a dump may have been restored before. The first program to
-- start finds another cluster than this one, and begins an epoch after them.
INSERT INTO log_epochs (first_log_id, cluster) VALUES (1, 0);
