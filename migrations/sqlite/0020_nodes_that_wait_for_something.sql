-- Nodes that wait, of one organization: whoever sets its budget wakes those of them that wait for one.
CREATE INDEX node_runs_waiting ON node_runs (organization_id) WHERE state = 'waiting' AND waiting_for IS NOT NULL;
