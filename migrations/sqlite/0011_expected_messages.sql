-- Whether a queued row has a message, as a fact of its own. Nobody knows that one has arrived: it may have been dropped
-- on the way.
--
-- The version before wrote wakes = -1 where there is no message.

ALTER TABLE node_runs ADD COLUMN message_expected INTEGER NOT NULL DEFAULT 1;  -- 0: it is known that nobody has published one
ALTER TABLE node_runs ADD COLUMN deep_wakes INTEGER NOT NULL DEFAULT 0;        -- sweeps in a row that found it beside a deep queue
