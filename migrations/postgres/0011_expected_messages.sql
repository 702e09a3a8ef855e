-- Whether a queued row has a message, as a fact of its own. Nobody knows that one has arrived: it may have been dropped
-- on the way, with the process that was to publish it, or by the broker.
--
-- Processes of the version before write wakes = -1 where there is no message.

ALTER TABLE node_runs
    ADD COLUMN message_expected boolean NOT NULL DEFAULT true,  -- false: it is known that nobody has published one
    ADD COLUMN deep_wakes       integer NOT NULL DEFAULT 0;     -- sweeps in a row that found it beside a deep queue
