-- Every update of a node changes an indexed column, so none finds the room that was kept for it. What is on disk stays
-- as it is; the lock is one that readers and writers pass by.
ALTER TABLE node_runs RESET (fillfactor);
