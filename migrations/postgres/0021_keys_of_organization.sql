-- no-transaction
-- Keys of one organization, in the order in which they are listed: newest first, read backwards.
CREATE INDEX CONCURRENTLY api_keys_of_organization ON api_keys (organization_id, created_at, digest);
